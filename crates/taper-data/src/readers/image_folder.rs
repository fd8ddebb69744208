//! A folder of images: `train/<class>/*` and `test|val/<class>/*`, or `<class>/*` without split.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use taper_kernels::random;

use crate::error::{DataError, Result};
use crate::image_set::{ImageSet, Part};

/// Names of the folder with the test part, in order of preference.
pub(crate) const TEST_FOLDERS: [&str; 4] = ["test", "val", "validation", "valid"];
/// Endings of the files that are taken as images, compared without case.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];
/// Of a folder without split every class gives this fraction of its images, rounded, to the test part.
pub const TEST_FRACTION: f64 = 0.2;
/// The seed of that split: fixed, so that both parts stay what they are from run to run.
const SPLIT_SEED: u64 = 0;

/// The folder that holds the classes of `part`, if `directory` is split.
pub(crate) fn split_folder(directory: &Path, part: Part) -> Option<PathBuf> {
    let names = match part {
        Part::Train => &["train"][..],
        Part::Test => &TEST_FOLDERS[..],
    };
    names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.is_dir())
}

/// Whether `directory` holds class folders itself: folders with at least one image right inside.
pub(crate) fn holds_classes(directory: &Path) -> Result<bool> {
    for folder in folders(directory)? {
        if !images(&folder)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the classes of a folder that is one part: classes in alphabetical order of their names.
pub(crate) fn read(directory: &Path) -> Result<ImageSet> {
    let (class_names, files) = classes(directory)?;
    collect(class_names, files)
}

/// Reads `part` of a folder without split. Each class is shuffled with a fixed seed;
/// [`TEST_FRACTION`] of it, at least one image and not all, is the test part.
pub(crate) fn read_unsplit(directory: &Path, part: Part) -> Result<ImageSet> {
    let (class_names, mut files) = classes(directory)?;
    for (class, class_files) in files.iter_mut().enumerate() {
        let count = class_files.len();
        if count < 2 {
            return Err(DataError::format(
                directory.join(&class_names[class]),
                format!("{count} image"),
                "at least 2, one for each part (or folders train and test)",
            ));
        }
        let mut order: Vec<usize> = (0..count).collect();
        let mut random = random::stream(SPLIT_SEED, "folder split", class as u64);
        order.shuffle(&mut random);
        let test = ((count as f64 * TEST_FRACTION).round() as usize).clamp(1, count - 1);
        let mut kept = match part {
            Part::Test => order[..test].to_vec(),
            Part::Train => order[test..].to_vec(),
        };
        kept.sort_unstable();
        *class_files = kept.iter().map(|&i| class_files[i].clone()).collect();
    }
    collect(class_names, files)
}

fn collect(class_names: Vec<String>, files: Vec<Vec<PathBuf>>) -> Result<ImageSet> {
    let labels = files
        .iter()
        .enumerate()
        .flat_map(|(class, files)| std::iter::repeat_n(class as u32, files.len()))
        .collect();
    ImageSet::from_files(files.concat(), labels, class_names)
}

/// Class names in alphabetical (byte) order and the images of each, ordered by name.
fn classes(directory: &Path) -> Result<(Vec<String>, Vec<Vec<PathBuf>>)> {
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for folder in folders(directory)? {
        let images = images(&folder)?;
        if images.is_empty() {
            return Err(DataError::format(
                folder,
                "no images",
                "at least one .png, .jpg, .jpeg or .webp in every class folder",
            ));
        }
        let name = folder.file_name().unwrap_or_default();
        names.push(name.to_string_lossy().into_owned());
        files.push(images);
    }
    if names.is_empty() {
        return Err(DataError::Empty {
            what: format!("{}: no class folders", directory.display()),
        });
    }
    Ok((names, files))
}

/// The folders in `directory`, ordered by name, hidden ones left out.
pub(crate) fn folders(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(directory)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |path: &PathBuf| {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(ending)) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_image).collect())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(DataError::io(directory))? {
        let entry = entry.map_err(DataError::io(directory))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
