//! A list of augmentations, as it stands in a recipe.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Sample, centre_crop, cutout, horizontal_flip, pad_crop, rand_augment, random_resized_crop,
};
use crate::error::{DataError, Result};
use crate::resize::{Rectangle, resize_rectangle};

/// The largest side or padding accepted in a policy: beyond it is a slip of the pen.
const LARGEST: usize = 16_384;

/// One augmentation with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AugmentationStep {
    /// Zero padding and a random crop of the old size.
    PadCrop {
        /// Zeros on each side, in pixels.
        padding: u32,
    },
    /// Horizontal mirror.
    HorizontalFlip {
        /// How often, 0..=1.
        probability: f64,
    },
    /// Erased squares; only as the last steps, since they are 0 after normalisation.
    Cutout {
        /// Side in pixels.
        length: u32,
        /// How many.
        holes: u32,
    },
    /// Operations drawn from RandAugment's list of 14.
    RandAugment {
        /// How many an image (N).
        operations: u32,
        /// Strength (M), below `bins`.
        magnitude: u32,
        /// How many strengths there are; torchvision has 31.
        bins: u32,
    },
    /// A random rectangle, resized.
    RandomResizedCrop {
        /// `[height, width]` afterwards.
        size: [usize; 2],
        /// Least and greatest area as fractions of the image's.
        scale: [f64; 2],
        /// Least and greatest width by height.
        ratio: [f64; 2],
    },
    /// Resizing that keeps the aspect.
    ResizeShorter {
        /// The shorter side afterwards, in pixels.
        side: usize,
    },
    /// The middle of the image.
    CentreCrop {
        /// `[height, width]` afterwards.
        size: [usize; 2],
    },
}

/// Augmentations in the order in which they are applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationPolicy {
    /// The steps, first to last.
    pub steps: Vec<AugmentationStep>,
}

impl AugmentationPolicy {
    /// Images as they are.
    pub fn none() -> Self {
        Self::default()
    }

    /// The usual one of CIFAR: crop of the image padded by 4, mirror (He et al. 2016,
    /// arXiv:1512.03385, section 4.2).
    pub fn standard() -> Self {
        Self {
            steps: vec![
                AugmentationStep::PadCrop { padding: 4 },
                AugmentationStep::HorizontalFlip { probability: 0.5 },
            ],
        }
    }

    /// A small shift, a sixteenth of the side but at least one pixel, and no mirror: a mirrored digit is none.
    pub fn digits(size: [usize; 2]) -> Self {
        let padding = (size[0].min(size[1]) / 16).clamp(1, LARGEST) as u32;
        Self {
            steps: vec![AugmentationStep::PadCrop { padding }],
        }
    }

    /// The usual one of ImageNet: random resized crop, mirror.
    pub fn imagenet(size: [usize; 2]) -> Self {
        Self {
            steps: vec![
                AugmentationStep::RandomResizedCrop {
                    size,
                    scale: [0.08, 1.0],
                    ratio: [0.75, 4.0 / 3.0],
                },
                AugmentationStep::HorizontalFlip { probability: 0.5 },
            ],
        }
    }

    /// The usual one for measuring on ImageNet: shorter side 8/7 of the size (256 for 224), then the middle.
    pub fn imagenet_evaluation(size: [usize; 2]) -> Self {
        Self {
            steps: vec![
                AugmentationStep::ResizeShorter {
                    side: size[0].max(size[1]) * 8 / 7,
                },
                AugmentationStep::CentreCrop { size },
            ],
        }
    }

    /// A preset by name: `none`, `standard`, `digits`, `imagenet`.
    ///
    /// # Errors
    /// [`DataError::Setting`] for another name.
    pub fn preset(name: &str, size: [usize; 2]) -> Result<Self> {
        match name {
            "none" => Ok(Self::none()),
            "standard" => Ok(Self::standard()),
            "digits" => Ok(Self::digits(size)),
            "imagenet" => Ok(Self::imagenet(size)),
            _ => Err(DataError::setting(
                "augmentation",
                format!("\"{name}\""),
                "none, standard, digits or imagenet",
            )),
        }
    }

    /// Checks every number and the order of the steps.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the step and field.
    pub fn validate(&self) -> Result<()> {
        let mut erased = false;
        for (index, step) in self.steps.iter().enumerate() {
            let is_cutout = matches!(step, AugmentationStep::Cutout { .. });
            if erased && !is_cutout {
                return Err(DataError::setting(
                    format!("augmentation step {index}"),
                    "a step after cutout",
                    "cutout last: it erases after normalisation",
                ));
            }
            erased |= is_cutout;
            step.validate(index)?;
        }
        Ok(())
    }

    /// Whether a step gives images a new size of its own.
    pub fn sets_size(&self) -> bool {
        use AugmentationStep::*;
        let sets = |step: &AugmentationStep| {
            matches!(
                step,
                RandomResizedCrop { .. } | ResizeShorter { .. } | CentreCrop { .. }
            )
        };
        self.steps.iter().any(sets)
    }

    /// `[height, width]` after all steps of images that have `size` before; `None` where it
    /// depends on an unknown size.
    pub fn output_size(&self, size: Option<[usize; 2]>) -> Option<[usize; 2]> {
        self.steps.iter().fold(size, |before, step| match step {
            AugmentationStep::RandomResizedCrop { size, .. }
            | AugmentationStep::CentreCrop { size } => Some(*size),
            AugmentationStep::ResizeShorter { side } => before.map(|size| shorter(size, *side)),
            _ => before,
        })
    }

    /// Applies all steps to `sample`; the random numbers come from `random` alone.
    ///
    /// # Errors
    /// [`DataError::Setting`] when an image or a size has no pixels.
    pub fn apply(&self, sample: &mut Sample, random: &mut impl Rng) -> Result<()> {
        self.steps
            .iter()
            .try_for_each(|step| step.apply(sample, random))
    }
}

impl AugmentationStep {
    fn apply(&self, sample: &mut Sample, random: &mut impl Rng) -> Result<()> {
        match *self {
            Self::PadCrop { padding } => {
                pad_crop(sample.image.view(), padding, random, &mut sample.spare);
                sample.swap();
            }
            Self::HorizontalFlip { probability } => {
                if random.random_bool(probability) {
                    horizontal_flip(&mut sample.image);
                }
            }
            Self::Cutout { length, holes } => {
                let size = sample.image().size();
                for _ in 0..holes {
                    sample.erased.push(cutout(size, length, random));
                }
            }
            Self::RandAugment {
                operations,
                magnitude,
                bins,
            } => rand_augment(sample, operations, magnitude, bins, random),
            Self::RandomResizedCrop { size, scale, ratio } => {
                let image = sample.image.view();
                random_resized_crop(image, size, scale, ratio, random, &mut sample.spare)?;
                sample.swap();
            }
            Self::ResizeShorter { side } => {
                let [height, width] = sample.image().size();
                let all = Rectangle {
                    top: 0,
                    left: 0,
                    height,
                    width,
                };
                let size = shorter([height, width], side);
                resize_rectangle(sample.image.view(), all, size, &mut sample.spare)?;
                sample.swap();
            }
            Self::CentreCrop { size } => {
                centre_crop(sample.image.view(), size, &mut sample.spare);
                sample.swap();
            }
        }
        Ok(())
    }

    fn validate(&self, index: usize) -> Result<()> {
        let require = |fits: bool, field: &str, found: String, expected: &str| match fits {
            true => Ok(()),
            false => {
                let field = format!("augmentation step {index}, {field}");
                Err(DataError::setting(field, found, expected))
            }
        };
        let size_fits = |size: &[usize; 2]| size.iter().all(|side| (1..=LARGEST).contains(side));
        match self {
            Self::PadCrop { padding } => {
                let fits = *padding as usize <= LARGEST;
                require(fits, "padding", padding.to_string(), "at most 16384")
            }
            Self::HorizontalFlip { probability } => {
                let fits = (0.0..=1.0).contains(probability);
                require(fits, "probability", probability.to_string(), "0 to 1")
            }
            Self::Cutout { length, holes } => {
                let fits =
                    *length > 0 && *length as usize <= LARGEST && *holes > 0 && *holes <= 1024;
                let found = format!("{holes} squares of {length}");
                require(
                    fits,
                    "cutout",
                    found,
                    "at least one square of at least 1 pixel",
                )
            }
            Self::RandAugment {
                operations,
                magnitude,
                bins,
            } => {
                let fits = *bins >= 2 && magnitude < bins && *operations <= 1024;
                let found =
                    format!("{operations} operations, magnitude {magnitude} of {bins} bins");
                require(
                    fits,
                    "rand-augment",
                    found,
                    "at most 1024 operations, magnitude below bins, bins at least 2",
                )
            }
            Self::RandomResizedCrop { size, scale, ratio } => {
                require(
                    size_fits(size),
                    "size",
                    format!("{size:?}"),
                    "sides of 1 to 16384",
                )?;
                let in_order =
                    |pair: &[f64; 2]| pair[0] > 0.0 && pair[0] <= pair[1] && pair[1].is_finite();
                let fits = in_order(scale) && scale[1] <= 1.0;
                require(
                    fits,
                    "scale",
                    format!("{scale:?}"),
                    "0 < least <= greatest <= 1",
                )?;
                require(
                    in_order(ratio),
                    "ratio",
                    format!("{ratio:?}"),
                    "0 < least <= greatest",
                )
            }
            Self::ResizeShorter { side } => {
                let fits = (1..=LARGEST).contains(side);
                require(fits, "side", side.to_string(), "1 to 16384")
            }
            Self::CentreCrop { size } => require(
                size_fits(size),
                "size",
                format!("{size:?}"),
                "sides of 1 to 16384",
            ),
        }
    }
}

/// The size with its shorter side made `side`, the longer one in proportion (rounded down, as torchvision).
fn shorter([height, width]: [usize; 2], side: usize) -> [usize; 2] {
    match height <= width {
        true => [side, side * width / height.max(1)],
        false => [side * height / width.max(1), side],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planar_image::Image;
    use crate::spec::DataSpec;
    use taper_kernels::random::stream;

    #[test]
    fn policies_are_written_and_read_by_name() {
        let mut policy = AugmentationPolicy::imagenet([224, 224]);
        policy.steps.extend(AugmentationPolicy::standard().steps);
        let text = serde_json::to_string(&policy).unwrap();
        assert!(
            text.contains(r#"{"kind":"pad-crop","padding":4}"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<AugmentationPolicy>(&text).unwrap(),
            policy
        );
        let misspelt = r#"{"steps":[{"kind":"pad-crop","pading":4}]}"#;
        let error = serde_json::from_str::<AugmentationPolicy>(misspelt).unwrap_err();
        assert!(error.to_string().contains("pading"), "{error}");
        let spec: DataSpec = serde_json::from_str("\"mnist:a/b\"").unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), "\"mnist:a/b\"");
        assert!(serde_json::from_str::<DataSpec>("\"mnits\"").is_err());
    }

    #[test]
    fn presets_are_valid_and_sizes_follow_the_steps() {
        for name in ["none", "standard", "digits", "imagenet"] {
            AugmentationPolicy::preset(name, [32, 32])
                .unwrap()
                .validate()
                .unwrap();
        }
        assert!(AugmentationPolicy::preset("strong", [32, 32]).is_err());
        let evaluation = AugmentationPolicy::imagenet_evaluation([224, 224]);
        assert_eq!(
            evaluation.steps[0],
            AugmentationStep::ResizeShorter { side: 256 }
        );
        assert_eq!(evaluation.output_size(None), Some([224, 224]));
        assert_eq!(AugmentationPolicy::standard().output_size(None), None);
        assert_eq!(
            AugmentationPolicy::standard().output_size(Some([8, 9])),
            Some([8, 9])
        );
        assert_eq!(shorter([500, 333], 256), [384, 256]);
        assert_eq!(shorter([333, 500], 256), [256, 384]);
    }

    #[test]
    fn the_standard_policy_mirrors_half_of_the_images() {
        let image = Image::new(1, 1, 2, vec![1, 2]).unwrap();
        let flip = AugmentationPolicy {
            steps: vec![AugmentationStep::HorizontalFlip { probability: 0.5 }],
        };
        let mut sample = Sample::default();
        let flipped = (0..4000).filter(|&index| {
            sample.load(image.view());
            flip.apply(&mut sample, &mut stream(0, "test", index))
                .unwrap();
            sample.image().pixels() == [2, 1]
        });
        // binomial(4000, 1/2): mean 2000, deviation 32
        let count = flipped.count();
        assert!((1850..2150).contains(&count), "{count}");
    }
}
