//! Every format, from files written here.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;

use common::*;
use image::ImageFormat;
use taper_data::{DataError, DataSpec, ImageSet, Part};

fn open(set: &str, folder: &Path, part: Part) -> Result<ImageSet, DataError> {
    let spec: DataSpec = format!("{set}:{}", folder.display()).parse()?;
    spec.open_part(part)
}

/// Training rows 0..10 in five files of two, test rows 20 and 21, labels (number mod 10).
fn cifar10_rows(part: Part) -> Vec<(u32, usize)> {
    match part {
        Part::Train => (0..10).map(|n| (n as u32, n)).collect(),
        Part::Test => vec![(0, 20), (1, 21)],
    }
}

fn assert_cifar10(folder: &Path) {
    for part in [Part::Train, Part::Test] {
        let set = open("cifar10", folder, part).unwrap();
        assert_rows(&set, &cifar10_rows(part));
        assert_eq!(set.class_names()[9], "truck");
    }
}

fn cifar10_files(file: impl Fn(&[(u8, usize)]) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = (0..5)
        .map(|k| {
            let rows = [(2 * k as u8, 2 * k), (2 * k as u8 + 1, 2 * k + 1)];
            (format!("data_batch_{}", k + 1), file(&rows))
        })
        .collect();
    files.push(("test_batch".into(), file(&[(0, 20), (1, 21)])));
    files
}

fn binary_file(rows: &[(u8, usize)]) -> Vec<u8> {
    rows.iter()
        .flat_map(|(label, number)| binary(&[(&[*label], *number)]))
        .collect()
}

#[test]
fn cifar10_binary_here_and_one_level_down() {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in cifar10_files(binary_file) {
        write(
            root.path().join("cifar-10-batches-bin").join(name + ".bin"),
            bytes,
        );
    }
    assert_cifar10(root.path());
    assert_cifar10(&root.path().join("cifar-10-batches-bin"));
}

#[test]
fn cifar10_python_batches() {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in cifar10_files(|rows| python2("labels", rows)) {
        write(root.path().join("cifar-10-batches-py").join(name), bytes);
    }
    assert_cifar10(root.path());
}

#[test]
fn cifar10_archives() {
    for (archive, folder, ending) in [
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin"),
        ("cifar-10-python.tar.gz", "cifar-10-batches-py", ""),
    ] {
        let files = cifar10_files(|rows| match ending {
            "" => python2("labels", rows),
            _ => binary_file(rows),
        });
        let names: Vec<_> = files
            .iter()
            .map(|(n, _)| format!("{folder}/{n}{ending}"))
            .collect();
        let members: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(files.iter().map(|(_, b)| b.clone()))
            .collect();
        let root = tempfile::tempdir().unwrap();
        let whole = tar_gz(&members);
        write(root.path().join(archive), &whole);
        assert_cifar10(root.path());
        // one byte of the gzip checksum, which stands 8 bytes before the end
        let mut damaged = whole.clone();
        let at = damaged.len() - 8;
        damaged[at] ^= 1;
        for bytes in [
            &damaged[..],
            &whole[..at],
            &whole[..at / 2],
            &whole[..20],
            &[],
        ] {
            write(root.path().join(archive), bytes);
            let error = open("cifar10", root.path(), Part::Train).unwrap_err();
            assert!(error.to_string().contains(archive), "{error}");
        }
        write(root.path().join(archive), tar_gz(&members[1..]));
        let error = open("cifar10", root.path(), Part::Train).unwrap_err();
        assert!(matches!(error, DataError::MissingFile { .. }), "{error}");
    }
}

#[test]
fn cifar10_parquet_of_png_and_webp_under_both_namings() {
    for (format, train, test) in [
        (ImageFormat::WebP, "data_batch_", "test_batch.parquet"),
        (
            ImageFormat::Png,
            "plain_text/train-",
            "plain_text/test-00000-of-00001.parquet",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let file = |numbers: std::ops::Range<usize>| {
            let rows: Vec<_> = numbers
                .map(|n| (vec![(n % 10) as i64], encoded(n, format)))
                .collect();
            parquet(&["label"], &rows)
        };
        for k in 0..5 {
            let name = match train {
                "data_batch_" => format!("data_batch_{}.parquet", k + 1),
                _ => format!("{train}{k:05}-of-00005.parquet"),
            };
            write(root.path().join(name), file(2 * k..2 * k + 2));
        }
        write(root.path().join(test), file(20..22));
        assert_cifar10(root.path());
    }
}

#[test]
fn cifar100_in_every_format_reads_the_fine_labels() {
    let rows = [(99u32, 1usize), (4, 2)];
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    write(file("bin/test.bin"), binary(&[(&[3, 99], 1), (&[4, 4], 2)]));
    write(file("py/test"), python2("fine_labels", &[(99, 1), (4, 2)]));
    let cells = vec![
        (vec![99, 3], encoded(1, ImageFormat::Png)),
        (vec![4, 4], encoded(2, ImageFormat::WebP)),
    ];
    write(
        file("pq/test.parquet"),
        parquet(&["fine_label", "coarse_label"], &cells),
    );
    let archive = tar_gz(&[(
        "cifar-100-python/test",
        python2("fine_labels", &[(99, 1), (4, 2)]),
    )]);
    write(file("tar/cifar-100-python.tar.gz"), archive);
    for folder in ["bin", "py", "pq", "tar"] {
        let set = open("cifar100", &file(folder), Part::Test).unwrap();
        assert_rows(&set, &rows);
        assert_eq!((set.classes(), &set.class_names()[99][..]), (100, "worm"));
        let error = open("cifar100", &file(folder), Part::Train).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("train"), "{folder}: {text}");
        if folder == "pq" {
            assert!(matches!(error, DataError::MissingPart { .. }), "{text}");
            assert!(
                text.contains("found: test.parquet") && text.contains("train.bin"),
                "{text}"
            );
        }
    }
}

#[test]
fn python3_pickles_with_latin1_text_are_read() {
    let root = tempfile::tempdir().unwrap();
    let batch = include_bytes!("fixtures/python3_batch.pickle");
    write(root.path().join("test_batch"), batch);
    let set = open("cifar10", root.path(), Part::Test).unwrap();
    assert_eq!(set.labels(), [3, 8]);
    let expected = (0..3072u32).map(|i| ((7 * i + 100) % 256) as u8);
    assert!(set.view(1).unwrap().pixels().iter().copied().eq(expected));
}

#[test]
fn idx_plain_gzipped_and_nested() {
    let pixels: Vec<u8> = (0..3 * 784).map(|i| (i % 251) as u8).collect();
    let (images, labels) = (idx(&[3, 28, 28], &pixels), idx(&[3], &[7, 0, 9]));
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    write(file("plain/t10k-images-idx3-ubyte"), &images);
    write(file("plain/t10k-labels-idx1-ubyte"), &labels);
    write(file("packed/t10k-images-idx3-ubyte.gz"), gzip(&images));
    write(file("packed/t10k-labels-idx1-ubyte.gz"), gzip(&labels));
    write(file("nested/MNIST/raw/t10k-images-idx3-ubyte"), &images);
    write(
        file("nested/MNIST/raw/t10k-labels-idx1-ubyte.gz"),
        gzip(&labels),
    );
    for folder in ["plain", "packed", "nested"] {
        for name in ["mnist", "fashion-mnist"] {
            let set = open(name, &file(folder), Part::Test).unwrap();
            assert_eq!(set.shape(), Some([1, 28, 28]));
            assert_eq!(
                (set.labels(), set.pixels().unwrap()),
                (&[7, 0, 9][..], &pixels[..])
            );
        }
        let error = open("mnist", &file(folder), Part::Train).unwrap_err();
        assert!(
            error.to_string().contains("train-images-idx3-ubyte"),
            "{error}"
        );
    }
    write(file("half/t10k-labels-idx1-ubyte"), &labels);
    let error = open("mnist", &file("half"), Part::Test)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("t10k-images-idx3-ubyte: no such file"),
        "{error}"
    );
    write(
        file("small/t10k-images-idx3-ubyte"),
        idx(&[1, 2, 2], &[0; 4]),
    );
    write(file("small/t10k-labels-idx1-ubyte"), idx(&[1], &[0]));
    let error = open("mnist", &file("small"), Part::Test)
        .unwrap_err()
        .to_string();
    assert!(error.contains("[1, 2, 2], expected [1, 28, 28]"), "{error}");
}

#[test]
fn folders_with_split_take_classes_in_alphabetical_order() {
    for test in ["test", "val", "validation", "valid"] {
        let root = tempfile::tempdir().unwrap();
        let file = |name: String| root.path().join(name);
        for (class, shade) in [("zebra", 3), ("Ape", 1), ("bear", 2)] {
            write(file(format!("train/{class}/b.png")), grey_png(3, 2, shade));
            write(
                file(format!("train/{class}/a.PNG")),
                grey_png(4, 5, shade + 100),
            );
            write(file(format!("train/{class}/notes.txt")), "no image");
            write(
                file(format!("{test}/{class}/c.webp")),
                encoded(shade.into(), ImageFormat::WebP),
            );
            write(
                file(format!("{test}/{class}/d.jpg")),
                encoded(shade.into(), ImageFormat::Jpeg),
            );
        }
        let train = open("folder", root.path(), Part::Train).unwrap();
        assert_eq!(train.class_names(), ["Ape", "bear", "zebra"]);
        assert_eq!(train.labels(), [0, 0, 1, 1, 2, 2]);
        let first = train.image(0).unwrap();
        assert_eq!((first.view().size(), first.pixels()[0]), ([5, 4], 101));
        assert_eq!(train.image(5).unwrap().pixels(), [3; 6]);
        let held_out = open("folder", root.path(), Part::Test).unwrap();
        assert_eq!(held_out.image(0).unwrap().pixels(), planes(1));
        assert_eq!(held_out.image(1).unwrap().view().size(), [32, 32]);
        DataSpec::open(&format!("folder:{}", root.path().display()).parse().unwrap()).unwrap();
    }
}

#[test]
fn folders_without_split_are_split_the_same_way_every_time() {
    let root = tempfile::tempdir().unwrap();
    for (class, count) in [("a", 10), ("b", 2), ("c", 23)] {
        for i in 0..count {
            write(
                root.path().join(format!("{class}/{i:02}.png")),
                grey_png(1, 1, i),
            );
        }
    }
    let part = |part| open("folder", root.path(), part).unwrap();
    let per_class =
        |set: &ImageSet| [0, 1, 2].map(|c| set.labels().iter().filter(|&&l| l == c).count());
    let (train, test) = (part(Part::Train), part(Part::Test));
    assert_eq!(per_class(&test), [2, 1, 5]); // a fifth, rounded, at least one
    assert_eq!(per_class(&train), [8, 1, 18]);
    let shades = |set: &ImageSet| -> Vec<(u32, u8)> {
        let shade = |i| set.image(i).unwrap().pixels()[0];
        (0..set.len())
            .map(|i| (set.labels()[i], shade(i)))
            .collect()
    };
    let mut all = [shades(&train), shades(&test)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 35, "every image is in exactly one part");
    assert_eq!(shades(&test), shades(&part(Part::Test)));
    write(root.path().join("d/only.png"), grey_png(1, 1, 0));
    let error = open("folder", root.path(), Part::Test)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("found 1 image, expected at least 2"),
        "{error}"
    );
}

#[test]
fn a_known_set_as_a_folder_must_have_its_classes_and_sizes() {
    let root = tempfile::tempdir().unwrap();
    let names = taper_data::SetKind::Cifar10.class_names().unwrap();
    let file = |class: &str, name: &str| root.path().join("test").join(class).join(name);
    for (number, class) in names.iter().enumerate() {
        write(file(class, "0.png"), encoded(number, ImageFormat::Png));
    }
    let set = open("cifar10", root.path(), Part::Test).unwrap();
    let rows: Vec<(u32, usize)> = (0..10).map(|n| (n as u32, n)).collect();
    assert_rows(&set, &rows);
    write(file("bird", "1.png"), grey_png(8, 8, 0));
    let error = open("cifar10", root.path(), Part::Test)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1.png: found 8x8 pixels, expected 32x32"),
        "{error}"
    );
    std::fs::remove_dir_all(root.path().join("test/bird")).unwrap();
    let error = open("cifar10", root.path(), Part::Test)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("found 9 class folders, expected 10"),
        "{error}"
    );
}
