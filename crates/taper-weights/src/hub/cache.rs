//! The layout that the Python tools use: `models--OWNER--NAME/{blobs,refs,snapshots}` and `.locks`.

use super::transfer::remove;
use super::{Digest, Event, HubError, Progress};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// One repository's folder in the cache. Names were checked before: see `spec.rs`.
pub(super) struct RepositoryCache {
    /// The whole cache.
    pub(super) cache: PathBuf,
    folder: String,
}

/// Held while a blob is written; the Python tools take the same lock.
pub(super) struct Lock {
    _file: File,
}

impl RepositoryCache {
    pub(super) fn new(cache: &Path, repository: &str) -> Self {
        Self {
            cache: cache.to_path_buf(),
            folder: format!("models--{}", repository.replace('/', "--")),
        }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    pub(super) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root().join("blobs").join(etag)
    }

    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.root().join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit that a branch or tag pointed to when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let text = std::fs::read_to_string(self.root().join("refs").join(revision)).ok()?;
        let commit = text.trim().to_string();
        is_commit(&commit).then_some(commit)
    }

    pub(super) fn write_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root().join("refs").join(revision);
        let folder = make_parent(&path)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(HubError::io(&folder))?;
        std::io::Write::write_all(&mut file, commit.as_bytes()).map_err(HubError::io(&path))?;
        file.persist(&path)
            .map_err(|error| HubError::io(&path)(error.error))?;
        Ok(())
    }

    /// Waits for whoever else writes the blob.
    pub(super) fn lock(&self, etag: &str, progress: Progress<'_>) -> Result<Lock, HubError> {
        let folder = self.cache.join(".locks").join(&self.folder);
        lock(&folder.join(format!("{etag}.lock")), progress)
    }

    /// The pointer, if it is there and stays in the repository's folder; what its name tells of its
    /// content.
    pub(super) fn cached(
        &self,
        commit: &str,
        file: &str,
    ) -> Result<Option<(PathBuf, Option<Digest>)>, HubError> {
        let pointer = self.pointer(commit, file);
        if std::fs::symlink_metadata(&pointer).is_err() {
            return Ok(None);
        }
        let Ok(target) = pointer.canonicalize() else {
            return match self.stays_inside(&pointer) {
                // Its blob was removed: as good as not there.
                true => Ok(None),
                false => Err(outside(&pointer)),
            };
        };
        let root = self.root();
        let root = root.canonicalize().map_err(HubError::io(&root))?;
        if !target.starts_with(&root) {
            return Err(HubError::OutsideCache {
                link: pointer,
                target,
            });
        }
        let blobs = root.join("blobs");
        let name = target.file_name().map(|name| name.to_string_lossy());
        let digest = match (target.parent() == Some(&blobs), name) {
            (true, Some(name)) => Digest::of_etag(&name),
            _ => None,
        };
        Ok(Some((pointer, digest)))
    }

    /// Whether a dangling link's own text stays in the repository's folder.
    fn stays_inside(&self, pointer: &Path) -> bool {
        let Ok(target) = std::fs::read_link(pointer) else {
            return true;
        };
        let Some(folder) = pointer.parent() else {
            return false;
        };
        let mut plain = PathBuf::new();
        for component in folder.join(target).components() {
            match component {
                Component::ParentDir => {
                    plain.pop();
                }
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        plain.starts_with(self.root())
    }

    /// Makes `snapshots/COMMIT/FILE` lead to the blob.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf, HubError> {
        let pointer = self.pointer(commit, file);
        let folder = make_parent(&pointer)?;
        let depth = 2 + file.matches('/').count();
        let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
        target.push("blobs");
        target.push(etag);
        if std::fs::read_link(&pointer).is_ok_and(|found| found == target) {
            return Ok(pointer);
        }
        // Under a name of its own first, so that another process never finds none.
        let fresh = folder.join(format!(".taper-{}-{etag}", std::process::id()));
        remove(&fresh)?;
        std::os::unix::fs::symlink(&target, &fresh).map_err(HubError::io(&fresh))?;
        std::fs::rename(&fresh, &pointer).map_err(HubError::io(&pointer))?;
        Ok(pointer)
    }

    /// Removes a pointer whose content is wrong, and its blob.
    pub(super) fn discard(&self, pointer: &Path) -> Result<(), HubError> {
        if let Ok(target) = pointer.canonicalize() {
            remove(&target)?;
        }
        remove(pointer)
    }
}

fn outside(link: &Path) -> HubError {
    HubError::OutsideCache {
        link: link.to_path_buf(),
        target: std::fs::read_link(link).unwrap_or_default(),
    }
}

/// Takes the lock file, waiting for another process, and says so.
pub(super) fn lock(path: &Path, progress: Progress<'_>) -> Result<Lock, HubError> {
    make_parent(path)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(HubError::io(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            progress(Event::Note(format!(
                "another process downloads the same file; waiting for {}",
                path.display()
            )));
            file.lock().map_err(HubError::io(path))?;
        }
        // Some network file systems have no locks: the digest still decides.
        Err(std::fs::TryLockError::Error(error))
            if error.kind() == std::io::ErrorKind::Unsupported => {}
        Err(std::fs::TryLockError::Error(error)) => return Err(HubError::io(path)(error)),
    }
    Ok(Lock { _file: file })
}

/// The folder of a file to be written, made where it is missing.
pub(super) fn make_parent(path: &Path) -> Result<PathBuf, HubError> {
    let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
    std::fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
    Ok(folder)
}

/// 40 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Gives a whole file its name for good.
pub(super) fn put(partial: &Path, path: &Path) -> Result<(), HubError> {
    std::fs::rename(partial, path).map_err(HubError::io(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(HubError::io(folder))
}
