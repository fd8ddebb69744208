//! Where the known sets are published, under which digests, and how they are laid out on disk.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha1::Digest as _;
use tar::Archive;

use crate::error::{DataError, Result};
use crate::spec::SetKind;

/// The digest that a set's authors, or the libraries that everybody uses, publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedDigest {
    /// SHA-256 in hexadecimal.
    Sha256(&'static str),
    /// MD5 in hexadecimal.
    Md5(&'static str),
}

/// A file of an archive, with the SHA-1 that apache/mxnet publishes
/// (`python/mxnet/gluon/data/vision/datasets.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Path below the set's folder, as in the archive.
    pub path: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-1.
    pub sha1: &'static str,
}

/// One file of a set, as published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedFile {
    /// File name.
    pub name: &'static str,
    /// Folders that hold it, tried in this order.
    pub folders: &'static [&'static str],
    /// Its digest.
    pub digest: PublishedDigest,
    /// What is taken out of it; empty where the file serves as it is.
    pub members: &'static [Member],
}

const TORONTO: &[&str] = &["https://www.cs.toronto.edu/~kriz"];
const MNIST: &[&str] = &[
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
];
const FASHION_MNIST: &[&str] = &[
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
];

const fn cifar10(path: &'static str, sha1: &'static str) -> Member {
    Member {
        path,
        bytes: 30_730_000,
        sha1,
    }
}

/// MD5: <https://www.cs.toronto.edu/~kriz/cifar.html>.
const CIFAR10: &[PublishedFile] = &[PublishedFile {
    name: "cifar-10-binary.tar.gz",
    folders: TORONTO,
    digest: PublishedDigest::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
    members: &[
        cifar10(
            "cifar-10-batches-bin/data_batch_1.bin",
            "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        ),
        cifar10(
            "cifar-10-batches-bin/data_batch_2.bin",
            "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        ),
        cifar10(
            "cifar-10-batches-bin/data_batch_3.bin",
            "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        ),
        cifar10(
            "cifar-10-batches-bin/data_batch_4.bin",
            "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        ),
        cifar10(
            "cifar-10-batches-bin/data_batch_5.bin",
            "26e2849e66a845b7f1e4614ae70f4889ae604628",
        ),
        cifar10(
            "cifar-10-batches-bin/test_batch.bin",
            "67eb016db431130d61cd03c7ad570b013799c88c",
        ),
    ],
}];

/// MD5: <https://www.cs.toronto.edu/~kriz/cifar.html>.
const CIFAR100: &[PublishedFile] = &[PublishedFile {
    name: "cifar-100-binary.tar.gz",
    folders: TORONTO,
    digest: PublishedDigest::Md5("03b5dce01913d631647c71ecec9e9cb8"),
    members: &[
        Member {
            path: "cifar-100-binary/train.bin",
            bytes: 153_700_000,
            sha1: "e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
        },
        Member {
            path: "cifar-100-binary/test.bin",
            bytes: 30_740_000,
            sha1: "8fb6623e830365ff53cf14adec797474f5478006",
        },
    ],
}];

const fn plain(
    name: &'static str,
    folders: &'static [&'static str],
    digest: PublishedDigest,
) -> PublishedFile {
    PublishedFile {
        name,
        folders,
        digest,
        members: &[],
    }
}

/// SHA-256 of the files whose MD5 torchvision publishes (`torchvision/datasets/mnist.py`).
const MNIST_FILES: &[PublishedFile] = &[
    plain(
        "train-images-idx3-ubyte.gz",
        MNIST,
        PublishedDigest::Sha256("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ),
    plain(
        "train-labels-idx1-ubyte.gz",
        MNIST,
        PublishedDigest::Sha256("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    plain(
        "t10k-images-idx3-ubyte.gz",
        MNIST,
        PublishedDigest::Sha256("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ),
    plain(
        "t10k-labels-idx1-ubyte.gz",
        MNIST,
        PublishedDigest::Sha256("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
];

/// MD5: `torchvision/datasets/mnist.py`.
const FASHION_MNIST_FILES: &[PublishedFile] = &[
    plain(
        "train-images-idx3-ubyte.gz",
        FASHION_MNIST,
        PublishedDigest::Md5("8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ),
    plain(
        "train-labels-idx1-ubyte.gz",
        FASHION_MNIST,
        PublishedDigest::Md5("25c81989df183df01b3e8a0aad5dffbe"),
    ),
    plain(
        "t10k-images-idx3-ubyte.gz",
        FASHION_MNIST,
        PublishedDigest::Md5("bef4ecab320f06d8554ea6380940ec79"),
    ),
    plain(
        "t10k-labels-idx1-ubyte.gz",
        FASHION_MNIST,
        PublishedDigest::Md5("bb300cfdad3c16e7a12a480ee83cd310"),
    ),
];

/// The files of a set; none for the embedded digits and for anybody's folder.
pub fn files(kind: SetKind) -> &'static [PublishedFile] {
    match kind {
        SetKind::Cifar10 => CIFAR10,
        SetKind::Cifar100 => CIFAR100,
        SetKind::Mnist => MNIST_FILES,
        SetKind::FashionMnist => FASHION_MNIST_FILES,
        SetKind::Digits | SetKind::Folder => &[],
    }
}

/// Whether every member lies whole in `directory`, by size and SHA-1.
///
/// # Errors
/// [`DataError::Io`].
pub fn is_unpacked(members: &[Member], directory: &Path) -> Result<bool> {
    for member in members {
        let path = directory.join(member.path);
        let size = std::fs::metadata(&path).map(|found| found.len());
        if !size.is_ok_and(|size| size == member.bytes) {
            return Ok(false);
        }
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let mut hasher = sha1::Sha1::new();
        std::io::copy(&mut BufReader::new(file), &mut Hashing(&mut hasher))
            .map_err(DataError::io(&path))?;
        if hexadecimal(&hasher.finalize()) != member.sha1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes `members` out of a `.tar.gz` into `directory`; each gets its name when its SHA-1 is right.
/// Nothing else of the archive is written.
///
/// # Errors
/// [`DataError::Format`] for a damaged archive, a missing or a wrong member; [`DataError::Io`].
pub fn unpack(archive: &Path, members: &[Member], directory: &Path) -> Result<()> {
    let file = File::open(archive).map_err(DataError::io(archive))?;
    let damaged = |error: std::io::Error| {
        let found = format!("a damaged archive: {error}");
        DataError::format(archive, found, "a whole .tar.gz")
    };
    let mut tar = Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut missing: Vec<&Member> = members.iter().collect();
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let Some(index) = missing.iter().position(|m| Path::new(m.path) == name) else {
            continue;
        };
        let member = missing.swap_remove(index);
        take(&mut entry, member, archive, directory)?;
    }
    match missing.first() {
        None => Ok(()),
        Some(member) => Err(DataError::MissingFile {
            path: archive.join(member.path),
            belongs_to: archive.into(),
        }),
    }
}

fn take(entry: &mut impl Read, member: &Member, archive: &Path, directory: &Path) -> Result<()> {
    let path = directory.join(member.path);
    let folder = path.parent().unwrap_or(directory).to_path_buf();
    std::fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
    let partial = partial(&path);
    let wrong = |found: String| {
        let expected = format!("{} bytes with SHA-1 {}", member.bytes, member.sha1);
        DataError::format(archive.join(member.path), found, expected)
    };
    let result = (|| {
        let mut file = File::create(&partial).map_err(DataError::io(&partial))?;
        let mut hasher = sha1::Sha1::new();
        let mut bytes = 0;
        let mut piece = vec![0; 1 << 20];
        loop {
            let read = entry.read(&mut piece).map_err(DataError::io(archive))?;
            bytes += read as u64;
            if read == 0 || bytes > member.bytes {
                break;
            }
            hasher.update(&piece[..read]);
            file.write_all(&piece[..read])
                .map_err(DataError::io(&partial))?;
        }
        let sha1 = hexadecimal(&hasher.finalize());
        if bytes != member.bytes || sha1 != member.sha1 {
            return Err(wrong(format!("{bytes} bytes with SHA-1 {sha1}")));
        }
        file.sync_all().map_err(DataError::io(&partial))?;
        std::fs::rename(&partial, &path).map_err(DataError::io(&path))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.incomplete"))
}

struct Hashing<'a>(&'a mut sha1::Sha1);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Member = Member {
        path: "set/hello.bin",
        bytes: 6,
        sha1: "f572d396fae9206628714fb2ce00f72e94f2258f",
    };

    fn archive(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("set.tar.gz");
        let gzip = flate2::write::GzEncoder::new(
            File::create(&path).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(gzip);
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    #[test]
    fn members_are_taken_when_whole_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let good = archive(
            folder.path(),
            &[("set/x", b"x"), ("set/hello.bin", b"hello\n")],
        );
        assert!(!is_unpacked(&[HELLO], &out).unwrap());
        unpack(&good, &[HELLO], &out).unwrap();
        assert!(is_unpacked(&[HELLO], &out).unwrap());
        assert!(!out.join("set/x").exists());
        std::fs::write(out.join("set/hello.bin"), "hellO\n").unwrap();
        assert!(!is_unpacked(&[HELLO], &out).unwrap());
    }

    #[test]
    fn half_and_wrong_members_get_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for bytes in [&b"hellO\n"[..], b"hello\n\n", b"hel"] {
            let bad = archive(folder.path(), &[("set/hello.bin", bytes)]);
            let error = unpack(&bad, &[HELLO], &out).unwrap_err().to_string();
            assert!(error.contains(HELLO.sha1), "{error}");
            assert_eq!(std::fs::read_dir(out.join("set")).unwrap().count(), 0);
        }
        let none = archive(folder.path(), &[("set/x", b"x")]);
        assert!(unpack(&none, &[HELLO], &out).is_err());
        let whole = std::fs::read(&none).unwrap();
        std::fs::write(&none, &whole[..whole.len() / 2]).unwrap();
        assert!(unpack(&none, &[HELLO], &out).is_err());
    }
}
