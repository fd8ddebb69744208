//! Finds which of the known formats a folder holds, in it or in its folders, and reads it.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::image_set::{ImageSet, Part};
use crate::readers::{Cifar, Rows, cifar_archive, cifar_binary, cifar_python, idx};
use crate::readers::{image_folder, parquet, read_verified};
use crate::spec::SetKind;

/// How many levels of folders below the given one are searched (torchvision keeps `MNIST/raw/`).
const LEVELS: usize = 2;
/// A folder with more folders than this is a folder of images, not searched further.
const MOST_FOLDERS: usize = 64;

/// The files of one part in one of the known formats.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    CifarBinary {
        files: Vec<PathBuf>,
        siblings: Vec<PathBuf>,
    },
    CifarPython(Vec<PathBuf>),
    CifarArchive {
        archive: PathBuf,
        members: Vec<String>,
    },
    Parquet(Vec<PathBuf>),
    Idx {
        images: PathBuf,
        labels: PathBuf,
    },
    Classes(PathBuf),
    UnsplitClasses(PathBuf),
}

/// Opens `part` of a set of `kind` that lies in `directory`.
pub(crate) fn open_in(kind: SetKind, directory: &Path, part: Part) -> Result<ImageSet> {
    let folders = searched(directory)?;
    for format in formats(kind) {
        for folder in &folders {
            if let Some(source) = format(kind, folder, part)? {
                return read(kind, source, part);
            }
        }
    }
    Err(DataError::MissingPart {
        set: kind.name().into(),
        part: part.name(),
        directory: directory.into(),
        found: listing(directory),
        expected: expected(kind, part),
    })
}

type Format = fn(SetKind, &Path, Part) -> Result<Option<Source>>;

/// The formats of a kind, the cheapest to read first.
fn formats(kind: SetKind) -> &'static [Format] {
    match kind {
        SetKind::Digits => &[],
        SetKind::Cifar10 | SetKind::Cifar100 => &[
            find_binary,
            find_python,
            find_parquet,
            find_folder,
            find_archive,
        ],
        SetKind::Mnist | SetKind::FashionMnist => &[find_idx, find_parquet, find_folder],
        SetKind::Folder => &[find_folder],
    }
}

fn expected(kind: SetKind, part: Part) -> Vec<String> {
    let name = part.name();
    let mut expected = Vec::new();
    if let Some(set) = cifar(kind) {
        let files = cifar_files(set, part);
        expected.push(with_ending(files, ".bin").join(", "));
        expected.push(format!("{} (Python batches)", files.join(", ")));
        expected.push(with_ending(files, ".parquet").join(", "));
        expected.push(archives(set).map(|(archive, _)| archive).join(" or "));
    }
    if matches!(kind, SetKind::Mnist | SetKind::FashionMnist) {
        let stem = idx_stem(part);
        expected.push(format!(
            "{stem}-images-idx3-ubyte[.gz] with {stem}-labels-idx1-ubyte[.gz]"
        ));
    }
    if kind != SetKind::Folder {
        expected.push(format!("{name}.parquet or {name}-*-of-*.parquet"));
    }
    let folder = match part {
        Part::Train => "train",
        Part::Test => "test|val",
    };
    expected.push(format!("{folder}/<class>/*.png|jpg|webp"));
    expected
}

/// The folder and those below it, nearest first.
fn searched(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![directory.to_path_buf()];
    let mut level = all.clone();
    for _ in 0..LEVELS {
        let mut below = Vec::new();
        for folder in &level {
            let folders = image_folder::folders(folder)?;
            if folders.len() <= MOST_FOLDERS {
                below.extend(folders);
            }
        }
        all.extend(below.iter().cloned());
        level = below;
    }
    Ok(all)
}

/// The first names in the folder, for an error.
fn listing(directory: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort_unstable();
    match names.len() {
        0 => "an empty folder".into(),
        count @ ..=8 => names[..count].join(", "),
        count => format!("{}, and {} more", names[..8].join(", "), count - 8),
    }
}

fn cifar(kind: SetKind) -> Option<Cifar> {
    match kind {
        SetKind::Cifar10 => Some(Cifar::Ten),
        SetKind::Cifar100 => Some(Cifar::Hundred),
        _ => None,
    }
}

/// File names of a part without their ending; the Python batches have none.
fn cifar_files(set: Cifar, part: Part) -> &'static [&'static str] {
    match (set, part) {
        (Cifar::Ten, Part::Train) => &[
            "data_batch_1",
            "data_batch_2",
            "data_batch_3",
            "data_batch_4",
            "data_batch_5",
        ],
        (Cifar::Ten, Part::Test) => &["test_batch"],
        (Cifar::Hundred, Part::Train) => &["train"],
        (Cifar::Hundred, Part::Test) => &["test"],
    }
}

/// `names` with an ending.
fn with_ending(names: &[&str], ending: &str) -> Vec<String> {
    names.iter().map(|name| format!("{name}{ending}")).collect()
}

/// The official archives and the ending of their members.
fn archives(set: Cifar) -> [(&'static str, &'static str); 2] {
    match set {
        Cifar::Ten => [
            ("cifar-10-binary.tar.gz", ".bin"),
            ("cifar-10-python.tar.gz", ""),
        ],
        Cifar::Hundred => [
            ("cifar-100-binary.tar.gz", ".bin"),
            ("cifar-100-python.tar.gz", ""),
        ],
    }
}

/// All of `names` in `folder` if one of them is there.
fn group(folder: &Path, names: &[String]) -> Result<Option<Vec<PathBuf>>> {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let Some(present) = paths.iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    match paths.iter().find(|path| !path.is_file()) {
        Some(missing) => Err(DataError::MissingFile {
            path: missing.clone(),
            belongs_to: present.clone(),
        }),
        None => Ok(Some(paths)),
    }
}

fn find_binary(kind: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    let Some(set) = cifar(kind) else {
        return Ok(None);
    };
    let files = group(folder, &with_ending(cifar_files(set, part), ".bin"))?;
    let other = match part {
        Part::Train => Part::Test,
        Part::Test => Part::Train,
    };
    let siblings = with_ending(cifar_files(set, other), ".bin");
    Ok(files.map(|files| Source::CifarBinary {
        files,
        siblings: siblings.iter().map(|name| folder.join(name)).collect(),
    }))
}

fn find_python(kind: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    let Some(set) = cifar(kind) else {
        return Ok(None);
    };
    let files = group(folder, &with_ending(cifar_files(set, part), ""))?;
    Ok(files.map(Source::CifarPython))
}

fn find_archive(kind: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    let Some(set) = cifar(kind) else {
        return Ok(None);
    };
    let present = archives(set)
        .into_iter()
        .find(|(name, _)| folder.join(name).is_file());
    Ok(present.map(|(name, ending)| Source::CifarArchive {
        archive: folder.join(name),
        members: with_ending(cifar_files(set, part), ending),
    }))
}

fn find_parquet(kind: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    if let Some(set) = cifar(kind) {
        let names = with_ending(cifar_files(set, part), ".parquet");
        if let Some(files) = group(folder, &names)? {
            return Ok(Some(Source::Parquet(files)));
        }
    }
    let single = folder.join(format!("{}.parquet", part.name()));
    if single.is_file() {
        return Ok(Some(Source::Parquet(vec![single])));
    }
    match shards(folder, part) {
        Some(names) => Ok(group(folder, &names)?.map(Source::Parquet)),
        None => Ok(None),
    }
}

/// The names of all shards if one `train-00000-of-00002.parquet` is there.
fn shards(folder: &Path, part: Part) -> Option<Vec<String>> {
    let mut counts: Vec<usize> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| shard_count(entry.file_name().to_str()?, part))
        .collect();
    counts.sort_unstable();
    let count = *counts.first()?;
    let name = |index| format!("{}-{index:05}-of-{count:05}.parquet", part.name());
    Some((0..count).map(name).collect())
}

/// How many shards the file name says there are.
fn shard_count(name: &str, part: Part) -> Option<usize> {
    let rest = name.strip_prefix(part.name())?.strip_prefix('-')?;
    let (index, count) = rest.strip_suffix(".parquet")?.split_once("-of-")?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    match is_number(index) && is_number(count) {
        true => count.parse().ok().filter(|&count| count > 0),
        false => None,
    }
}

fn idx_stem(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Test => "t10k",
    }
}

fn find_idx(_: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    let stem = idx_stem(part);
    let file = |what: &str, dimensions: usize| {
        let names = [
            format!("{stem}-{what}-idx{dimensions}-ubyte"),
            format!("{stem}-{what}.idx{dimensions}-ubyte"),
        ];
        let paths = names
            .iter()
            .flat_map(|name| [name.clone(), format!("{name}.gz")]);
        let mut paths = paths.map(|name| folder.join(name));
        let plain = folder.join(&names[0]);
        (paths.find(|path| path.is_file()), plain)
    };
    let missing =
        |path: PathBuf, belongs_to: PathBuf| Err(DataError::MissingFile { path, belongs_to });
    match (file("images", 3), file("labels", 1)) {
        ((Some(images), _), (Some(labels), _)) => Ok(Some(Source::Idx { images, labels })),
        ((None, path), (Some(other), _)) | ((Some(other), _), (None, path)) => missing(path, other),
        ((None, _), (None, _)) => Ok(None),
    }
}

fn find_folder(_: SetKind, folder: &Path, part: Part) -> Result<Option<Source>> {
    if let Some(classes) = image_folder::split_folder(folder, part) {
        return match image_folder::holds_classes(&classes)? {
            true => Ok(Some(Source::Classes(classes))),
            false => Ok(None),
        };
    }
    let is_split = [Part::Train, Part::Test]
        .into_iter()
        .any(|part| image_folder::split_folder(folder, part).is_some());
    match !is_split && image_folder::holds_classes(folder)? {
        true => Ok(Some(Source::UnsplitClasses(folder.into()))),
        false => Ok(None),
    }
}

fn read(kind: SetKind, source: Source, part: Part) -> Result<ImageSet> {
    let names = kind.class_names().unwrap_or_default();
    let classes = names.len();
    let shape = kind.shape().unwrap_or_default();
    let set = cifar(kind).unwrap_or(Cifar::Ten);
    match source {
        Source::CifarBinary { files, siblings } => {
            cifar_binary::check_sizes(&files, &siblings, set)?;
            let parse = |path: &PathBuf| cifar_binary::parse(&read_verified(path)?, set, path);
            concatenated(&files, parse)?.into_set(names)
        }
        Source::CifarPython(files) => {
            let parse = |path: &PathBuf| cifar_python::parse(&read_verified(path)?, set, path);
            concatenated(&files, parse)?.into_set(names)
        }
        Source::CifarArchive { archive, members } => {
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            cifar_archive::read(&archive, &members, set)?.into_set(names)
        }
        Source::Parquet(files) => {
            let parse = |path: &PathBuf| parquet::read(path, shape, classes);
            concatenated(&files, parse)?.into_set(names)
        }
        Source::Idx { images, labels } => {
            let rows = idx::read(&images, &labels, classes)?;
            if rows.shape != shape {
                let found = format!("images of shape {:?}", rows.shape);
                return Err(DataError::format(images, found, format!("{shape:?}")));
            }
            rows.into_set(names)
        }
        Source::Classes(folder) => known(kind, image_folder::read(&folder)?, &folder),
        Source::UnsplitClasses(folder) => {
            known(kind, image_folder::read_unsplit(&folder, part)?, &folder)
        }
    }
}

fn concatenated(files: &[PathBuf], parse: impl Fn(&PathBuf) -> Result<Rows>) -> Result<Rows> {
    let parts = files.iter().map(parse).collect::<Result<_>>()?;
    Rows::concatenate(parts, files)
}

/// A folder of a known set must hold that set's classes and sizes; it is decoded at once.
fn known(kind: SetKind, set: ImageSet, folder: &Path) -> Result<ImageSet> {
    let (Some(names), Some([channels, height, width])) = (kind.class_names(), kind.shape()) else {
        return Ok(set);
    };
    if set.classes() != names.len() {
        let found = format!("{} class folders", set.classes());
        let expected = format!("{}, the classes of {}", names.len(), kind.name());
        return Err(DataError::format(folder, found, expected));
    }
    set.decoded(channels, [height, width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_understood() {
        assert_eq!(
            shard_count("train-00000-of-00002.parquet", Part::Train),
            Some(2)
        );
        for name in [
            "train-00000-of-00002.parquet",
            "test-0-of-1.parquet",
            "test.parquet",
        ] {
            assert_eq!(shard_count(name, Part::Test), None);
        }
    }

    #[test]
    fn a_missing_shard_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("train-00001-of-00002.parquet"), "x").unwrap();
        let error = open_in(SetKind::Cifar10, root.path(), Part::Train).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("train-00000-of-00002.parquet: no such file"),
            "{error}"
        );
    }
}
