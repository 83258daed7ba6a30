//! Where bytes and jobs go.
