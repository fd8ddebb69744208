//! Data specifications as typed on the command line: `NAME`, `NAME:FOLDER`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::augmentation::AugmentationPolicy;
use crate::checksum;
use crate::class_names;
use crate::digits::digits;
use crate::error::{DataError, Result};
use crate::image_set::{DataSet, ImageSet, Part};
use crate::locate::open_in;
use crate::normalisation::Normalisation;

/// What can be written, for errors and help.
pub const KNOWN_SPECIFICATIONS: &str = "digits, cifar10:DIR, cifar100:DIR, mnist:DIR, fashion-mnist:DIR, folder:DIR \
     (without :DIR: in $TAPER_DATA/NAME or where the system's packages put it)";
/// Where packages of the system put data sets (Debian's `dataset-fashion-mnist`).
const SYSTEM_FOLDER: &str = "/usr/share/datasets";
/// The folder with data sets, each under its name.
pub const DATA_VARIABLE: &str = "TAPER_DATA";

/// A kind of data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// The embedded digits.
    Digits,
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100 with its 100 fine labels.
    Cifar100,
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// Anybody's folder of images.
    Folder,
}

impl SetKind {
    const ALL: [Self; 6] = [
        Self::Digits,
        Self::Cifar10,
        Self::Cifar100,
        Self::Mnist,
        Self::FashionMnist,
        Self::Folder,
    ];

    /// Its name in a specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Folder => "folder",
        }
    }

    /// `[channels, height, width]` of its images; `None` for a folder, whose images vary.
    pub fn shape(self) -> Option<[usize; 3]> {
        match self {
            Self::Digits => Some([1, 8, 8]),
            Self::Cifar10 | Self::Cifar100 => Some([3, 32, 32]),
            Self::Mnist | Self::FashionMnist => Some([1, 28, 28]),
            Self::Folder => None,
        }
    }

    /// Names of its classes by label; `None` for a folder, whose folders name them.
    pub fn class_names(self) -> Option<Vec<String>> {
        let names: &[&str] = match self {
            Self::Digits | Self::Mnist => &class_names::DIGITS,
            Self::Cifar10 => &class_names::CIFAR10,
            Self::Cifar100 => &class_names::CIFAR100,
            Self::FashionMnist => &class_names::FASHION_MNIST,
            Self::Folder => return None,
        };
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// A data set and where it lies.
///
/// ```
/// use taper_data::{DataSpec, Part};
/// let digits: DataSpec = "digits".parse()?;
/// assert_eq!(digits.open_part(Part::Test)?.len(), 900);
/// assert!("cifar11".parse::<DataSpec>().is_err());
/// # Ok::<(), taper_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataSpec {
    /// What it is.
    pub kind: SetKind,
    /// Its folder; `None`: the usual places.
    pub directory: Option<PathBuf>,
}

impl DataSpec {
    /// Opens both parts.
    ///
    /// # Errors
    /// Those of [`DataSpec::open_part`]; [`DataError::Setting`] when the parts differ in classes.
    pub fn open(&self) -> Result<DataSet> {
        let name = self.kind.name();
        DataSet::new(
            name,
            self.open_part(Part::Train)?,
            self.open_part(Part::Test)?,
        )
    }

    /// Opens one part; the other need not be there. Files that a `SHA256SUMS` in the folder or
    /// above it lists are verified (but not single images of a folder).
    ///
    /// # Errors
    /// A [`DataError`] that names the missing, damaged or wrong file, what was found and what expected.
    pub fn open_part(&self, part: Part) -> Result<ImageSet> {
        match self.directory()? {
            None => digits(part),
            Some(directory) => open_in(self.kind, &directory, part),
        }
    }

    /// The folder of the set, searched for in the usual places if none was given; `None` for the
    /// embedded digits.
    ///
    /// # Errors
    /// [`DataError::NotFound`] naming every place searched, [`DataError::MissingFolder`].
    pub fn directory(&self) -> Result<Option<PathBuf>> {
        if self.kind == SetKind::Digits {
            return Ok(None);
        }
        let Some(given) = &self.directory else {
            let data = std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty());
            return usual_place(self.kind, data.as_ref().map(Path::new)).map(Some);
        };
        match given.is_dir() {
            true => Ok(Some(given.clone())),
            false => Err(DataError::MissingFolder {
                set: self.kind.name().into(),
                directory: given.clone(),
            }),
        }
    }

    /// Checks every file of the folder that a `SHA256SUMS` lists (see [`checksum::verify`]).
    ///
    /// # Errors
    /// [`DataError::Checksum`] naming the file and both sums; those of [`DataSpec::directory`].
    pub fn verify(&self) -> Result<Vec<PathBuf>> {
        match self.directory()? {
            None => Ok(Vec::new()),
            Some(directory) => checksum::verify(&directory),
        }
    }

    /// The usual normalisation of the set; for a folder that of ImageNet.
    pub fn normalisation(&self) -> Normalisation {
        match self.kind {
            SetKind::Digits => Normalisation::digits(),
            SetKind::Cifar10 => Normalisation::cifar10(),
            SetKind::Cifar100 => Normalisation::cifar100(),
            SetKind::Mnist => Normalisation::mnist(),
            SetKind::FashionMnist => Normalisation::fashion_mnist(),
            SetKind::Folder => Normalisation::imagenet(),
        }
    }

    /// The usual augmentation for training on the set with images of `size = [height, width]`.
    pub fn training_policy(&self, size: [usize; 2]) -> AugmentationPolicy {
        match self.kind {
            SetKind::Digits | SetKind::Mnist => AugmentationPolicy::digits(size),
            SetKind::Cifar10 | SetKind::Cifar100 | SetKind::FashionMnist => {
                AugmentationPolicy::standard()
            }
            SetKind::Folder => AugmentationPolicy::imagenet(size),
        }
    }
}

/// The first of the usual places that is a folder.
fn usual_place(kind: SetKind, data: Option<&Path>) -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(data.map(|folder| folder.join(kind.name())));
    places.push(Path::new(SYSTEM_FOLDER).join(kind.name()));
    match places.iter().find(|place| place.is_dir()) {
        Some(place) => Ok(place.clone()),
        None => Err(DataError::NotFound {
            set: kind.name().into(),
            looked_in: places,
        }),
    }
}

impl FromStr for DataSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: &str| DataError::Specification {
            text: text.into(),
            reason: reason.into(),
            known: KNOWN_SPECIFICATIONS,
        };
        let (name, directory) = match text.split_once(':') {
            Some((name, directory)) => (name, Some(directory)),
            None => (text, None),
        };
        let spelt = name.trim().to_ascii_lowercase().replace('_', "-");
        let kind = SetKind::ALL.into_iter().find(|kind| kind.name() == spelt);
        let kind = kind.ok_or_else(|| refuse("unknown data set"))?;
        match (kind, directory) {
            (SetKind::Digits, Some(_)) => Err(refuse("the digits are embedded and take no folder")),
            (SetKind::Folder, None) => Err(refuse("a folder of images needs its path")),
            (_, Some("")) => Err(refuse("no folder after the colon")),
            (kind, directory) => Ok(Self {
                kind,
                directory: directory.map(PathBuf::from),
            }),
        }
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match &self.directory {
            Some(directory) => write!(f, ":{}", directory.display()),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for DataSpec {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DataSpec> for String {
    fn from(spec: DataSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read_and_written() {
        for text in [
            "digits",
            "cifar10:a/b",
            "cifar100:C:x",
            "mnist",
            "fashion-mnist:.",
            "folder:/x",
        ] {
            assert_eq!(text.parse::<DataSpec>().unwrap().to_string(), text);
        }
        let spec: DataSpec = "Fashion_MNIST:d".parse().unwrap();
        assert_eq!(spec.kind, SetKind::FashionMnist);
        for text in ["", "cifar", "digits:x", "folder", "mnist:", ":x"] {
            let error = text.parse::<DataSpec>().unwrap_err().to_string();
            assert!(error.contains("known: digits, cifar10:DIR"), "{error}");
        }
    }

    #[test]
    fn a_name_alone_says_where_it_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let error = usual_place(SetKind::Cifar10, Some(root.path()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&root.path().join("cifar10").display().to_string()),
            "{error}"
        );
        assert!(error.contains("/usr/share/datasets/cifar10"), "{error}");
        std::fs::create_dir(root.path().join("cifar10")).unwrap();
        let found = usual_place(SetKind::Cifar10, Some(root.path())).unwrap();
        assert_eq!(found, root.path().join("cifar10"));
    }
}
