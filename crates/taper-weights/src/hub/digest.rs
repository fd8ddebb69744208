//! Digests by which downloads are verified.

use super::HubError;
use sha2::Digest as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What the bytes of a file must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256, 64 hexadecimal digits: files in the hub's large-file storage, the zoo's list.
    Sha256(String),
    /// SHA-1 of a git blob (`blob LENGTH\0` and the bytes): small files of a repository.
    GitBlob(String),
    /// Plain SHA-1.
    Sha1(String),
    /// MD5, which many data sets are published with: finds damage, not malice.
    Md5(String),
    /// The first eight digits of the SHA-256, as in `resnet20-12fca82f.th`.
    Sha256Prefix(String),
}

impl Digest {
    /// The digest that a hub's ETag is: 64 digits are a SHA-256, 40 a git blob.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        let hexadecimal = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (hexadecimal, etag.len()) {
            (true, 64) => Some(Self::Sha256(etag.to_ascii_lowercase())),
            (true, 40) => Some(Self::GitBlob(etag.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// The digits in a name such as `resnet20-12fca82f.th`, the habit of torchvision.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        crate::checksum::digits_in_name(name).map(|digits| Self::Sha256Prefix(digits.to_string()))
    }

    /// A SHA-256 as typed by a person.
    ///
    /// # Errors
    /// [`HubError::Specification`] unless it has 64 hexadecimal digits.
    pub fn sha256(text: &str) -> Result<Self, HubError> {
        match Self::of_etag(text.trim()) {
            Some(digest @ Self::Sha256(_)) => Ok(digest),
            _ => Err(HubError::Specification {
                spec: text.to_string(),
                reason: "a SHA-256 has 64 hexadecimal digits".to_string(),
            }),
        }
    }

    /// Its name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitBlob(_) => "git blob SHA-1",
            Self::Sha1(_) => "SHA-1",
            Self::Md5(_) => "MD5",
            Self::Sha256Prefix(_) => "SHA-256 (its first 8 digits are in the name)",
        }
    }

    /// Its hexadecimal digits.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits)
            | Self::GitBlob(digits)
            | Self::Sha1(digits)
            | Self::Md5(digits)
            | Self::Sha256Prefix(digits) => digits,
        }
    }

    /// The digest of this kind of the file's bytes.
    ///
    /// # Errors
    /// [`HubError::Io`].
    pub fn measure(&self, path: &Path) -> Result<String, HubError> {
        let mut file = File::open(path).map_err(HubError::io(path))?;
        match self {
            Self::Sha256(_) | Self::Sha256Prefix(_) => feed(&mut file, path, sha2::Sha256::new()),
            Self::Sha1(_) => feed(&mut file, path, sha1::Sha1::new()),
            Self::Md5(_) => feed(&mut file, path, md5::Md5::new()),
            Self::GitBlob(_) => {
                let bytes = file.metadata().map_err(HubError::io(path))?.len();
                let mut hasher = sha1::Sha1::new();
                hasher.update(format!("blob {bytes}\0").as_bytes());
                feed(&mut file, path, hasher)
            }
        }
    }

    /// Whether the file's bytes have this digest: `None` if so, else the digest found.
    ///
    /// # Errors
    /// [`HubError::Io`].
    pub fn differs(&self, path: &Path) -> Result<Option<String>, HubError> {
        let found = self.measure(path)?;
        let same = match self {
            Self::Sha256Prefix(digits) => found.starts_with(digits.as_str()),
            _ => found.eq_ignore_ascii_case(self.digits()),
        };
        Ok((!same).then_some(found))
    }
}

fn feed(file: &mut File, path: &Path, mut hasher: impl sha2::Digest) -> Result<String, HubError> {
    let mut piece = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(HubError::io(path))? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_usual_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // sha256sum, git hash-object, sha1sum, md5sum.
        let known = [
            Digest::Sha256(
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".into(),
            ),
            Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".into()),
            Digest::Sha1("f572d396fae9206628714fb2ce00f72e94f2258f".into()),
            Digest::Md5("b1946ac92492d2347c6235b4d2611184".into()),
            Digest::Sha256Prefix("5891b5b5".into()),
        ];
        for digest in known {
            assert_eq!(digest.differs(&path).unwrap(), None, "{digest:?}");
        }
        let wrong = Digest::Sha256Prefix("00000000".into());
        assert!(wrong.differs(&path).unwrap().is_some());
    }

    #[test]
    fn names_with_eight_digits() {
        let digits = |name| Digest::of_name(name).map(|digest| digest.digits().to_string());
        assert_eq!(digits("resnet20-12fca82f.th").as_deref(), Some("12fca82f"));
        for name in [
            "resnet20.th",
            "a-12fca82.th",
            "a-12FCA82F.th",
            "a-12fca82f",
            "x",
        ] {
            assert_eq!(digits(name), None, "{name}");
        }
        assert!(Digest::sha256("12").is_err());
    }
}
