//! The tables of the dialects.

mod names;
mod numbers;
