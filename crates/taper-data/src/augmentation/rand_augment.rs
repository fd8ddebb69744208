//! RandAugment (Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced
//! search space", 2019, arXiv:1909.13719) with torchvision's 14 operations and ranges.

use rand::Rng;

use super::affine::{rotation, shear_x, shear_y, transform};
use super::pad_crop::shift;
use super::{Sample, colour};

/// The largest shear (tangent of the angle).
const LARGEST_SHEAR: f64 = 0.3;
/// The largest shift, as a fraction of the side: 150 of the paper's 331 pixels.
const LARGEST_SHIFT: f64 = 150.0 / 331.0;
/// The largest rotation in degrees.
const LARGEST_ROTATION: f64 = 30.0;
/// The largest change of a factor from 1.
const LARGEST_CHANGE: f64 = 0.9;
/// The bits of a pixel that the strongest posterisation drops.
const MOST_BITS_DROPPED: f64 = 4.0;

/// One of the 14 operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Horizontal shear.
    ShearX,
    /// Vertical shear.
    ShearY,
    /// Horizontal shift.
    TranslateX,
    /// Vertical shift.
    TranslateY,
    /// Rotation about the middle.
    Rotate,
    /// Brightness.
    Brightness,
    /// Colour saturation.
    Colour,
    /// Contrast.
    Contrast,
    /// Sharpness.
    Sharpness,
    /// Fewer bits.
    Posterise,
    /// Inversion of bright pixels.
    Solarise,
    /// Stretched histogram.
    AutoContrast,
    /// Even histogram.
    Equalise,
}

impl Operation {
    /// All, in torchvision's order.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Colour,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterise,
        Self::Solarise,
        Self::AutoContrast,
        Self::Equalise,
    ];

    /// Whether the strength goes both ways.
    fn is_signed(self) -> bool {
        use Operation::*;
        matches!(
            self,
            ShearX
                | ShearY
                | TranslateX
                | TranslateY
                | Rotate
                | Brightness
                | Colour
                | Contrast
                | Sharpness
        )
    }

    /// Applies the operation with `strength` in -1..=1 (the magnitude by its largest value; its
    /// sign matters where both ways exist). What moves in from outside is black.
    pub fn apply(self, sample: &mut Sample, strength: f64) {
        let factor = (1.0 + LARGEST_CHANGE * strength) as f32;
        let size = sample.image().size();
        // a whole number of pixels, cut towards 0
        let pixels = |side: usize| -((LARGEST_SHIFT * side as f64 * strength) as i64);
        let image = &mut sample.image;
        match self {
            Self::Identity => {}
            Self::ShearX => warp(sample, shear_x(LARGEST_SHEAR * strength)),
            Self::ShearY => warp(sample, shear_y(LARGEST_SHEAR * strength)),
            Self::Rotate => warp(sample, rotation(LARGEST_ROTATION * strength, size)),
            Self::TranslateX => displace(sample, 0, pixels(size[1])),
            Self::TranslateY => displace(sample, pixels(size[0]), 0),
            Self::Brightness => colour::brightness(image, factor),
            Self::Colour => colour::saturation(image, factor),
            Self::Contrast => colour::contrast(image, factor),
            Self::Sharpness => colour::sharpness(image, factor, &mut sample.spare),
            Self::Posterise => {
                let dropped = (MOST_BITS_DROPPED * strength.abs()).round_ties_even();
                colour::posterise(image, 8 - dropped as u32);
            }
            Self::Solarise => colour::solarise(image, 255.0 * (1.0 - strength.abs())),
            Self::AutoContrast => colour::autocontrast(image),
            Self::Equalise => colour::equalise(image),
        }
    }
}

fn warp(sample: &mut Sample, matrix: [f64; 6]) {
    transform(sample.image.view(), matrix, &mut sample.spare);
    sample.swap();
}

fn displace(sample: &mut Sample, down: i64, right: i64) {
    shift(sample.image.view(), down, right, &mut sample.spare);
    sample.swap();
}

/// Applies `operations` operations drawn with replacement, each at `magnitude` of `bins` bins
/// (0 nothing, `bins - 1` the strongest) and with a random sign where it goes both ways.
pub fn rand_augment(
    sample: &mut Sample,
    operations: u32,
    magnitude: u32,
    bins: u32,
    random: &mut impl Rng,
) {
    let strength = f64::from(magnitude) / f64::from(bins.saturating_sub(1).max(1));
    for _ in 0..operations {
        let index = random.random_range(0..Operation::ALL.len() as u32);
        let operation = Operation::ALL[index as usize];
        let negative = operation.is_signed() && random.random_bool(0.5);
        operation.apply(sample, if negative { -strength } else { strength });
    }
}
