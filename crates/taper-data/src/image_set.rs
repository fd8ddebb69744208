//! A part of a data set: images, labels, classes.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::channels::adapt_channels;
use crate::decode::decode;
use crate::error::{DataError, Result};
use crate::planar_image::{Image, ImageView};
use crate::resize::resize;

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The images to learn from.
    Train,
    /// The images to measure on (test or validation).
    Test,
}

impl Part {
    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Both parts of a data set.
#[derive(Debug, Clone)]
pub struct DataSet {
    /// Its name, as in a data specification.
    pub name: String,
    /// The images to learn from.
    pub train: ImageSet,
    /// The images to measure on.
    pub test: ImageSet,
}

/// Labelled images: in memory, or as files that are decoded when they are asked for.
#[derive(Debug, Clone)]
pub struct ImageSet {
    storage: Storage,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

#[derive(Debug, Clone)]
enum Storage {
    /// All pixels, u8 `[count, channels, height, width]`.
    Pixels { shape: [usize; 3], pixels: Vec<u8> },
    /// One encoded file an image, of any sizes.
    Files(Vec<PathBuf>),
}

impl DataSet {
    /// Two parts of one set.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the parts differ in their classes.
    pub fn new(name: impl Into<String>, train: ImageSet, test: ImageSet) -> Result<Self> {
        let name = name.into();
        if let Some((a, b)) = differing_class(&train, &test) {
            return Err(DataError::setting(
                format!("{name}: classes of the test part"),
                format!("{} ({b})", test.classes()),
                format!("{} ({a}), as in the training part", train.classes()),
            ));
        }
        Ok(Self { name, train, test })
    }
}

/// The first class name in which two parts differ.
fn differing_class(train: &ImageSet, test: &ImageSet) -> Option<(String, String)> {
    let name = |set: &ImageSet, class: usize| match set.class_names().get(class) {
        Some(name) => format!("class {class} is {name}"),
        None => format!("no class {class}"),
    };
    (0..train.classes().max(test.classes()))
        .find(|&class| train.class_names().get(class) != test.class_names().get(class))
        .map(|class| (name(train, class), name(test, class)))
}

impl ImageSet {
    /// Images in memory: `pixels` is u8 `[count, channels, height, width]` with
    /// `shape = [channels, height, width]`.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no images, [`DataError::Setting`] when the lengths do not fit
    /// or a label is no class.
    pub fn from_pixels(
        shape: [usize; 3],
        pixels: Vec<u8>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let expected = shape
            .iter()
            .try_fold(labels.len(), |n, &side| n.checked_mul(side));
        if expected != Some(pixels.len()) || shape.contains(&0) {
            return Err(DataError::setting(
                "pixels",
                format!("{} bytes", pixels.len()),
                format!("{} images of shape {shape:?}", labels.len()),
            ));
        }
        Self::checked(Storage::Pixels { shape, pixels }, labels, class_names)
    }

    /// Images in files, decoded when they are asked for.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no images, [`DataError::Setting`] when the lengths do not fit
    /// or a label is no class.
    pub fn from_files(
        files: Vec<PathBuf>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        if files.len() != labels.len() {
            return Err(DataError::setting(
                "files",
                files.len(),
                format!("{}, one a label", labels.len()),
            ));
        }
        Self::checked(Storage::Files(files), labels, class_names)
    }

    fn checked(storage: Storage, labels: Vec<u32>, class_names: Vec<String>) -> Result<Self> {
        if labels.is_empty() {
            return Err(DataError::Empty {
                what: "image set".into(),
            });
        }
        let classes = class_names.len();
        if let Some(row) = labels.iter().position(|&l| l as usize >= classes) {
            return Err(DataError::setting(
                format!("label of image {row}"),
                labels[row],
                format!("below {classes}, the number of classes"),
            ));
        }
        Ok(Self {
            storage,
            labels,
            class_names,
        })
    }

    /// How many images; at least one.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never true: a set without images is refused when it is made.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// `[channels, height, width]` of every image; `None` while the images are files.
    pub fn shape(&self) -> Option<[usize; 3]> {
        match &self.storage {
            Storage::Pixels { shape, .. } => Some(*shape),
            Storage::Files(_) => None,
        }
    }

    /// All pixels, u8 `[count, channels, height, width]`; `None` while the images are files.
    pub fn pixels(&self) -> Option<&[u8]> {
        match &self.storage {
            Storage::Pixels { pixels, .. } => Some(pixels),
            Storage::Files(_) => None,
        }
    }

    /// Image `index` in memory; `None` while the images are files or beyond the end.
    pub fn view(&self, index: usize) -> Option<ImageView<'_>> {
        let Storage::Pixels { shape, pixels } = &self.storage else {
            return None;
        };
        let [channels, height, width] = *shape;
        let length = channels * height * width;
        let pixels = pixels.get(index * length..(index + 1) * length)?;
        ImageView::new(channels, height, width, pixels).ok()
    }

    /// Image `index`, decoded if it is a file.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Image`] naming the file, [`DataError::Setting`] beyond the end.
    pub fn image(&self, index: usize) -> Result<Image> {
        if let Some(view) = self.view(index) {
            return Ok(view.to_image());
        }
        match &self.storage {
            Storage::Files(files) if index < files.len() => {
                let path = &files[index];
                let bytes = std::fs::read(path).map_err(DataError::io(path))?;
                decode(&bytes, &path.display().to_string())
            }
            _ => Err(DataError::setting(
                "image index",
                index,
                format!("below {}", self.len()),
            )),
        }
    }

    /// The same images in memory with `channels` planes and `size = [height, width]`
    /// (bilinear, aspect not kept), prepared on all cores.
    ///
    /// # Errors
    /// Those of [`ImageSet::image`], of [`adapt_channels`] and of [`resize`]; of several the one
    /// with the lowest index.
    pub fn adapted(&self, channels: usize, size: [usize; 2]) -> Result<Self> {
        if self.shape() == Some([channels, size[0], size[1]]) {
            return Ok(self.clone());
        }
        self.prepared(channels, size, |index| {
            let image = match self.view(index) {
                Some(view) => adapt_channels(view, channels)?,
                None => adapt_channels(self.image(index)?.view(), channels)?,
            };
            match image.view().size() == size {
                true => Ok(image),
                false => resize(image.view(), size),
            }
        })
    }

    /// The same images in memory; every one must have `size` = `[height, width]` already.
    pub(crate) fn decoded(&self, channels: usize, size: [usize; 2]) -> Result<Self> {
        self.prepared(channels, size, |index| {
            let image = self.image(index)?;
            let [height, width] = image.view().size();
            if [height, width] != size {
                return Err(DataError::Image {
                    location: self.location(index),
                    message: format!(
                        "found {height}x{width} pixels, expected {}x{}",
                        size[0], size[1]
                    ),
                });
            }
            adapt_channels(image.view(), channels)
        })
    }

    /// A set in memory of the images that `prepare` makes, on all cores.
    fn prepared(
        &self,
        channels: usize,
        size: [usize; 2],
        prepare: impl Fn(usize) -> Result<Image> + Sync + Send,
    ) -> Result<Self> {
        let images: Vec<Result<Image>> = (0..self.len()).into_par_iter().map(prepare).collect();
        let mut pixels = Vec::with_capacity(self.len() * channels * size[0] * size[1]);
        for image in images {
            pixels.extend_from_slice(image?.pixels());
        }
        let shape = [channels, size[0], size[1]];
        Self::from_pixels(shape, pixels, self.labels.clone(), self.class_names.clone())
    }

    /// The file of image `index`, or its number.
    fn location(&self, index: usize) -> String {
        match &self.storage {
            Storage::Files(files) if index < files.len() => files[index].display().to_string(),
            _ => format!("image {index}"),
        }
    }

    /// The images of `indices`, in that order.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no index, [`DataError::Setting`] for one beyond the end.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        if let Some(index) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(DataError::setting(
                "image index",
                index,
                format!("below {}", self.len()),
            ));
        }
        let storage = match &self.storage {
            Storage::Pixels { shape, .. } => Storage::Pixels {
                shape: *shape,
                pixels: indices
                    .iter()
                    .filter_map(|&i| self.view(i))
                    .flat_map(|view| view.pixels().iter().copied())
                    .collect(),
            },
            Storage::Files(files) => {
                Storage::Files(indices.iter().map(|&i| files[i].clone()).collect())
            }
        };
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Self::checked(storage, labels, self.class_names.clone())
    }

    /// The first `count` images, all of them if there are fewer.
    ///
    /// # Errors
    /// [`DataError::Empty`] when `count` is 0.
    pub fn first(&self, count: usize) -> Result<Self> {
        self.subset(&(0..count.min(self.len())).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|c| c.to_string()).collect()
    }

    #[test]
    fn lengths_labels_and_emptiness_are_checked() {
        let shape = [1, 2, 2];
        assert!(ImageSet::from_pixels(shape, vec![0; 8], vec![0, 1], names(2)).is_ok());
        for (pixels, labels) in [(7, vec![0, 1]), (8, vec![0, 2]), (8, vec![0])] {
            let set = ImageSet::from_pixels(shape, vec![0; pixels], labels, names(2));
            assert!(matches!(set, Err(DataError::Setting { .. })));
        }
        let none = ImageSet::from_pixels(shape, vec![], vec![], names(2));
        assert!(matches!(none, Err(DataError::Empty { .. })));
        assert!(ImageSet::from_pixels([0, 2, 2], vec![], vec![0], names(1)).is_err());
        assert!(ImageSet::from_files(vec![], vec![0], names(1)).is_err());
    }

    #[test]
    fn subsets_keep_images_beside_their_labels() {
        let set = ImageSet::from_pixels([1, 1, 2], (0..6).collect(), vec![0, 1, 2], names(3));
        let some = set.unwrap().subset(&[2, 0]).unwrap();
        assert_eq!(some.labels(), [2, 0]);
        assert_eq!(some.view(0).unwrap().pixels(), [4, 5]);
        assert_eq!(some.view(1).unwrap().pixels(), [0, 1]);
        assert!(some.view(2).is_none() && some.image(2).is_err());
        assert!(some.subset(&[2]).is_err());
        assert!(some.first(0).is_err());
        assert_eq!(some.first(9).unwrap().len(), 2);
    }

    #[test]
    fn adapting_repeats_grey_and_resizes() {
        let set = ImageSet::from_pixels([1, 1, 1], vec![5, 9], vec![0, 1], names(2)).unwrap();
        let large = set.adapted(3, [2, 2]).unwrap();
        assert_eq!(large.shape(), Some([3, 2, 2]));
        assert_eq!(large.view(1).unwrap().pixels(), [9; 12]);
    }

    #[test]
    fn parts_with_other_classes_do_not_make_a_set() {
        let part = |n| ImageSet::from_pixels([1, 1, 1], vec![0], vec![0], names(n)).unwrap();
        let error = DataSet::new("folder", part(2), part(3)).unwrap_err();
        assert!(error.to_string().contains("class 2"), "{error}");
    }
}
