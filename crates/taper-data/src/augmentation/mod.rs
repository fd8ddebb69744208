//! Augmentations, one file each, and the policies made of them.
//!
//! All work on 8-bit planes and draw from a given random stream, so the same stream gives the
//! same image.

mod affine;
mod centre_crop;
mod colour;
mod cutout;
mod flip;
mod pad_crop;
mod policy;
mod rand_augment;
mod random_resized_crop;
mod sample;

pub use centre_crop::centre_crop;
pub use cutout::cutout;
pub use flip::horizontal_flip;
pub use pad_crop::pad_crop;
pub use policy::{AugmentationPolicy, AugmentationStep};
pub use rand_augment::{Operation, rand_augment};
pub use random_resized_crop::random_resized_crop;
pub use sample::Sample;
