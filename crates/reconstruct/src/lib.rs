//! reconstruct

pub mod recipe;
