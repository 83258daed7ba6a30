//! tomo
