//! The table: one row a network.

use super::VelocityEntry;
use crate::{AdmConfig, MlpConfig, Preconditioning, SongUNetConfig, VelocityConfig};

const VELOCITY: &str = "velocity";
const COUPLING: &str = "coupling";
const DENOISE: &str = "denoise";

/// Channels, height, width.
const MNIST: &[usize] = &[1, 28, 28];
const CIFAR: &[usize] = &[3, 32, 32];
const DIGITS: &[usize] = &[1, 8, 8];
const IMAGENET64: &[usize] = &[3, 64, 64];
/// Coordinates of a point.
const PLANE: &[usize] = &[2];

const fn row(
    (name, task, family): (&'static str, &'static str, &'static str),
    config: fn() -> VelocityConfig,
    input: &'static [usize],
    (parameters, tensors, macs): (usize, usize, u64),
) -> VelocityEntry {
    VelocityEntry {
        name,
        task,
        family,
        config,
        input,
        parameters,
        tensors,
        macs,
        preconditioning: None,
    }
}

const fn edm(entry: VelocityEntry) -> VelocityEntry {
    VelocityEntry {
        preconditioning: Some(Preconditioning::EDM),
        ..entry
    }
}

/// All networks.
pub const MODELS: &[VelocityEntry] = &[
    row(
        ("mlp_2d", VELOCITY, "mlp"),
        || VelocityConfig::Mlp(MlpConfig::velocity_2d()),
        PLANE,
        (34_562, 8, 34_176),
    ),
    row(
        ("mlp_2d_coupling", COUPLING, "mlp"),
        || VelocityConfig::Mlp(MlpConfig::coupling_2d()),
        PLANE,
        (5_060, 6, 4_928),
    ),
    row(
        ("unet_small", VELOCITY, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::small(28, 1)),
        MNIST,
        (215_185, 196, 34_008_320),
    ),
    row(
        ("unet_small_8", VELOCITY, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::small(8, 1)),
        DIGITS,
        (215_185, 196, 2_800_640),
    ),
    row(
        ("unet_small_32", VELOCITY, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::small(32, 3)),
        CIFAR,
        (215_763, 196, 45_000_704),
    ),
    row(
        ("cud_mnist", VELOCITY, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::cud_mnist()),
        MNIST,
        (2_155_201, 262, 593_749_504),
    ),
    row(
        ("cud_mnist_encoder", COUPLING, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::cud_mnist_encoder()),
        MNIST,
        (2_155_778, 262, 594_201_088),
    ),
    row(
        ("cud_cifar10", VELOCITY, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::cud_cifar10()),
        CIFAR,
        (55_732_739, 424, 21_020_344_320),
    ),
    row(
        ("cud_cifar10_encoder", COUPLING, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::cud_cifar10_encoder()),
        CIFAR,
        (2_208_966, 280, 791_572_480),
    ),
    edm(row(
        ("edm_cifar10_ddpmpp", DENOISE, "song_unet"),
        || VelocityConfig::SongUnet(SongUNetConfig::edm_cifar10_ddpmpp()),
        CIFAR,
        (55_733_891, 425, 21_020_344_320),
    )),
    row(
        ("cud_imagenet64", VELOCITY, "adm"),
        || VelocityConfig::Adm(AdmConfig::cud_imagenet64()),
        IMAGENET64,
        (295_899_267, 541, 103_440_826_368),
    ),
    edm(row(
        ("edm_imagenet64_adm", DENOISE, "adm"),
        || VelocityConfig::Adm(AdmConfig::edm_imagenet64()),
        IMAGENET64,
        (295_899_267, 553, 103_441_594_368),
    )),
    edm(row(
        ("edm_imagenet64_adm_w64", DENOISE, "adm"),
        || VelocityConfig::Adm(AdmConfig::edm_imagenet64_w64()),
        IMAGENET64,
        (33_105_283, 553, 11_503_118_336),
    )),
];
