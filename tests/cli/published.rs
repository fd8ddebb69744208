//! Published checkpoints, read as they are, reach their known accuracy on the real test images.

use crate::support::Folder;
use std::path::{Path, PathBuf};

/// Points that a figure may be off.
const TOLERANCE: f64 = 0.05;

fn shared() -> PathBuf {
    std::env::var_os("TAPER_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    )
}

/// One of each family and container; `docs/src/figures/weights.md` has all fourteen.
#[test]
fn known_accuracies_are_reached() {
    let root = shared();
    for (model, file, data, top1) in [
        (
            "akamaster_resnet20",
            "cifar10-resnet/resnet20-12fca82f.th",
            "cifar10",
            91.73,
        ),
        (
            "distiller_wrn_10_1",
            "cifar-distiller/WRN10_1_cifar10.pth",
            "cifar10",
            88.06,
        ),
        (
            "distiller_resnet8",
            "cifar-distiller/resnet8_cifar100.pth",
            "cifar100",
            64.11,
        ),
    ] {
        let weights = root.join("weights").join(file);
        let images = root.join(data);
        if !weights.is_file() || !images.is_dir() {
            println!("{}: not here, skipped", weights.display());
            continue;
        }
        let spec = format!("{data}:{}", images.display());
        let weights = weights.display().to_string();
        let folder = Folder::new();
        let answer = folder
            .ok(&[
                "eval",
                model,
                "--weights",
                &weights,
                "--data",
                &spec,
                "--json",
            ])
            .json();
        assert_eq!(answer["count"], 10_000);
        let found = answer["top1"].as_f64().unwrap();
        assert!(
            (found - top1).abs() <= TOLERANCE,
            "{model}: {found}, published {top1}"
        );
    }
}
