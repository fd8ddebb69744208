//! Wrong, truncated, missing and damaged files: an error that names the file, never a panic.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;

use common::*;
use image::ImageFormat;
use taper_data::{DataError, DataSpec, ImageSet, Loader, LoaderConfig, Normalisation, Part};

fn open(set: &str, folder: &Path) -> Result<ImageSet, DataError> {
    let spec: DataSpec = format!("{set}:{}", folder.display()).parse()?;
    spec.open_part(Part::Test)
}

/// Opening must fail with a text that holds every piece.
fn assert_refused(set: &str, folder: &Path, pieces: &[&str]) {
    let text = open(set, folder).unwrap_err().to_string();
    for piece in pieces {
        assert!(text.contains(piece), "no \"{piece}\" in: {text}");
    }
    assert!(text.lines().count() <= 6, "{text}");
}

#[test]
fn missing_and_empty_folders() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("nowhere");
    for set in ["cifar10", "cifar100", "mnist", "fashion-mnist", "folder"] {
        assert_refused(set, &missing, &[set, "nowhere: no such folder"]);
        assert_refused(
            set,
            root.path(),
            &[set, "no test part", "an empty folder", "test"],
        );
    }
    write(root.path().join("test/a/notes.txt"), "no image");
    assert_refused("folder", root.path(), &["no test part"]);
    write(root.path().join("test/b/0.png"), grey_png(1, 1, 0));
    assert_refused("folder", root.path(), &["test/a: found no images"]);
}

#[test]
fn a_missing_batch_is_named() {
    let root = tempfile::tempdir().unwrap();
    for k in [1, 2, 4, 5] {
        let bytes = binary(&[(&[1], k)]);
        write(root.path().join(format!("data_batch_{k}.bin")), bytes);
    }
    let spec: DataSpec = format!("cifar10:{}", root.path().display())
        .parse()
        .unwrap();
    let error = spec.open_part(Part::Train).unwrap_err().to_string();
    assert!(error.contains("data_batch_3.bin: no such file"), "{error}");
}

#[test]
fn truncated_files_of_every_format() {
    let png = encoded(1, ImageFormat::Png);
    let table = parquet(&["label"], &[(vec![1], png)]);
    let images = gzip(&idx(&[1, 28, 28], &planes(1)[..784]));
    for (set, name, whole) in [
        ("cifar10", "test_batch.bin", binary(&[(&[1], 1)])),
        ("cifar10", "test_batch", python2("labels", &[(1, 1)])),
        ("cifar10", "test_batch.parquet", table),
        ("mnist", "t10k-images-idx3-ubyte.gz", images),
    ] {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("t10k-labels-idx1-ubyte"), idx(&[1], &[1]));
        write(root.path().join(name), &whole);
        assert_eq!(open(set, root.path()).unwrap().labels(), [1]);
        let last = whole.len() - 1;
        for cut in [0, 1, 3, 10, 100, whole.len() / 2, last - 8, last] {
            write(root.path().join(name), &whole[..cut]);
            assert_refused(set, root.path(), &[name]);
        }
    }
}

#[test]
fn labels_that_are_no_class_name_their_row() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    write(file("bin/test_batch.bin"), binary(&[(&[1], 1), (&[10], 2)]));
    write(file("py/test_batch"), python2("labels", &[(1, 1), (10, 2)]));
    let png = encoded(1, ImageFormat::Png);
    let rows = [(vec![1], png.clone()), (vec![10], png.clone())];
    write(file("pq/test.parquet"), parquet(&["label"], &rows));
    for folder in ["bin", "py", "pq"] {
        assert_refused(
            "cifar10",
            &file(folder),
            &["row 1: label 10, expected 0..=9"],
        );
    }
    write(
        file("pq/test.parquet"),
        parquet(&["label"], &[(vec![-1], png.clone())]),
    );
    assert_refused("cifar10", &file("pq"), &["row 0: label -1"]);
    write(
        file("pq/test.parquet"),
        parquet(&["class"], &[(vec![1], png)]),
    );
    assert_refused(
        "cifar10",
        &file("pq"),
        &["columns img, class", "fine_label or label"],
    );
    write(file("pq/test.parquet"), parquet(&["label"], &[]));
    assert_refused("cifar10", &file("pq"), &["test.parquet: no images (N = 0)"]);
}

#[test]
fn damaged_images_are_named_by_path_or_row() {
    let root = tempfile::tempdir().unwrap();
    let good = encoded(1, ImageFormat::Png);
    let mut bad = good.clone();
    bad[60] ^= 0x55;
    let rows = [(vec![1], good.clone()), (vec![1], bad.clone())];
    write(root.path().join("test.parquet"), parquet(&["label"], &rows));
    assert_refused(
        "cifar10",
        root.path(),
        &["test.parquet, row 1: cannot be decoded"],
    );
    let rows = [(vec![1], b"GIF89a".to_vec())];
    write(root.path().join("test.parquet"), parquet(&["label"], &rows));
    assert_refused("cifar10", root.path(), &["test.parquet, row 0"]);
    let rows = [(vec![1], grey_png(8, 8, 1))];
    write(root.path().join("test.parquet"), parquet(&["label"], &rows));
    assert_refused(
        "cifar10",
        root.path(),
        &["row 0: found 8x8 pixels, expected 32x32"],
    );

    let folder = tempfile::tempdir().unwrap();
    for (i, bytes) in [&good, &bad, &good].iter().enumerate() {
        write(folder.path().join(format!("test/a/{i}.png")), bytes);
    }
    write(folder.path().join("test/b/0.png"), "");
    let set = open("folder", folder.path()).unwrap();
    let text = set.image(1).unwrap_err().to_string();
    assert!(text.contains("1.png: cannot be decoded"), "{text}");
    let text = set.image(3).unwrap_err().to_string();
    assert!(
        text.contains("b/0.png: not an image: found an empty file"),
        "{text}"
    );
    let config = LoaderConfig {
        size: Some([32, 32]),
        ..LoaderConfig::evaluation(Normalisation::imagenet())
    };
    let text = Loader::new(set.into(), config).unwrap_err().to_string();
    assert!(text.contains("1.png: cannot be decoded"), "{text}");
}

#[test]
fn every_single_damaged_byte_of_a_parquet_file_is_survived() {
    let root = tempfile::tempdir().unwrap();
    let whole = parquet(&["label"], &[(vec![1], encoded(1, ImageFormat::Png))]);
    let image = encoded(1, ImageFormat::Png);
    let start = whole.windows(image.len()).position(|w| w == image).unwrap();
    let outside = (0..whole.len()).filter(|i| !(start + 8..start + image.len()).contains(i));
    for at in outside {
        let mut damaged = whole.clone();
        damaged[at] ^= [0x01, 0x80, 0xff][at % 3];
        write(root.path().join("test.parquet"), &damaged);
        // some bytes carry no meaning; the rest must give an error, none a panic
        if let Err(error) = open("cifar10", root.path()) {
            assert!(
                error.to_string().contains("test.parquet"),
                "byte {at}: {error}"
            );
        }
    }
}

#[test]
fn wrong_checksums_name_both_sums() {
    let root = tempfile::tempdir().unwrap();
    write(root.path().join("set/test_batch.bin"), binary(&[(&[1], 1)]));
    let wrong = "0".repeat(64);
    let list = format!("{wrong}  set/test_batch.bin\n");
    write(root.path().join("SHA256SUMS"), list);
    let folder = root.path().join("set");
    let pieces = [
        "test_batch.bin: wrong checksum",
        &wrong[..],
        "found",
        "SHA256SUMS",
    ];
    assert_refused("cifar10", &folder, &pieces);
    let spec: DataSpec = format!("cifar10:{}", folder.display()).parse().unwrap();
    assert!(matches!(spec.verify(), Err(DataError::Checksum { .. })));
}

#[test]
fn pickles_that_would_run_code_are_refused() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path().join("test_batch"),
        b"\x80\x02cos\nsystem\nU\x04true\x85R.",
    );
    assert_refused(
        "cifar10",
        root.path(),
        &["test_batch: pickle, byte 2", "os.system"],
    );
}
