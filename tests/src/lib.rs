//! What the tests share: generated weights and the comparison with golden files.
//!
//! The tests themselves lie beside their golden files and the scripts that wrote them
//! (`parity/<name>/`), and under `cli/`.

pub mod compare;
pub mod generate;
pub mod golden;
