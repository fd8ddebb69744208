//! What logit distillation needs: standardisation and the KD loss.

mod kd;
mod standardise;

pub use kd::{KD_TEMPERATURE, kd_loss};
pub use standardise::{STANDARDISED_SCALE, standardise};
