//! RandAugment's operations against Pillow (`fixtures/make_rand_augment.py`).

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::Read;

use flate2::read::GzDecoder;
use taper_data::augmentation::{Operation, Sample};
use taper_data::{AugmentationPolicy, AugmentationStep, Image, ImageView};
use taper_kernels::random::stream;

const HEIGHT: usize = 17;
const WIDTH: usize = 19;

fn golden() -> Vec<u8> {
    let packed = include_bytes!("fixtures/rand_augment.bin.gz");
    let mut content = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut content)
        .unwrap();
    content
}

/// Strengths in the file, by operation.
fn strengths(operation: Operation) -> &'static [f64] {
    use Operation::*;
    match operation {
        Identity | Posterise | Solarise | AutoContrast | Equalise => &[0.3, 1.0],
        _ => &[0.3, -0.3, 1.0, -1.0],
    }
}

#[test]
fn operations_equal_pillow_pixel_for_pixel() {
    let content = golden();
    let mut images = content.chunks_exact(3 * HEIGHT * WIDTH);
    let source = images.next().unwrap();
    let mut changed = 0;
    for operation in Operation::ALL {
        for &strength in strengths(operation) {
            let mut sample = Sample::default();
            sample.load(ImageView::new(3, HEIGHT, WIDTH, source).unwrap());
            operation.apply(&mut sample, strength);
            let (found, expected) = (sample.image().pixels(), images.next().unwrap());
            let wrong = found.iter().zip(expected).filter(|(a, b)| a != b).count();
            assert_eq!(wrong, 0, "{operation:?} at {strength}: pixels that differ");
            changed += usize::from(expected != source);
        }
    }
    assert!(images.next().is_none());
    assert_eq!(
        changed, 44,
        "every operation but the identity changes the image"
    );
}

#[test]
fn grey_images_pass_through_every_operation() {
    let pixels: Vec<u8> = (0..64).map(|i| i * 4).collect();
    for operation in Operation::ALL {
        for strength in [-1.0, 0.0, 1.0] {
            let mut sample = Sample::default();
            sample.load(ImageView::new(1, 8, 8, &pixels).unwrap());
            operation.apply(&mut sample, strength);
            assert_eq!(sample.image().size(), [8, 8]);
            if operation == Operation::Colour {
                assert_eq!(sample.image().pixels(), pixels);
            }
        }
    }
}

#[test]
fn all_operations_are_drawn_and_the_stream_decides() {
    let policy = AugmentationPolicy {
        steps: vec![AugmentationStep::RandAugment {
            operations: 2,
            magnitude: 15,
            bins: 31,
        }],
    };
    policy.validate().unwrap();
    let content = golden();
    let view = ImageView::new(3, HEIGHT, WIDTH, &content[..3 * HEIGHT * WIDTH]).unwrap();
    let apply = |index| -> Image {
        let mut sample = Sample::default();
        sample.load(view);
        policy
            .apply(&mut sample, &mut stream(0, "test", index))
            .unwrap();
        sample.image().to_image()
    };
    let images: Vec<Image> = (0..200).map(apply).collect();
    assert!(
        images
            .iter()
            .enumerate()
            .all(|(i, image)| *image == apply(i as u64))
    );
    let mut distinct: Vec<&[u8]> = images.iter().map(Image::pixels).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 100, "{} different results", distinct.len());
}
