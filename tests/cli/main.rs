//! The program as a stranger uses it: real processes in fresh folders.

mod bad_input;
mod distill;
mod kill;
mod models;
mod run;
mod support;
mod train;
