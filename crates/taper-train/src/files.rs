//! Files that are either whole or absent: temporary file, sync, rename, sync of the folder.

use crate::error::{Result, TrainError};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const PARTIAL: &str = "partial";

/// A file being written; removed again unless it gets its name.
struct PartialFile {
    path: PathBuf,
    file: File,
    named: bool,
}

impl PartialFile {
    fn create(target: &Path) -> Result<Self> {
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = target.with_file_name(format!(".{name}.{PARTIAL}"));
        // The mode follows the umask, as for every file that a program makes.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(TrainError::io("write", target))?;
        Ok(Self {
            path,
            file,
            named: false,
        })
    }

    fn write(&mut self, parts: &[&[u8]]) -> std::io::Result<()> {
        parts.iter().try_for_each(|part| self.file.write_all(part))
    }

    fn rename(&mut self, target: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, target)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.named {
            // Nothing better can be done where even this fails; the next run sweeps it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes `parts` one after the other as `target`. Whatever happens, even a kill, a full disk or a
/// loss of power, `target` is afterwards either what it was or complete.
///
/// # Errors
/// [`TrainError::Io`] naming `target`.
pub fn write_atomically(target: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut partial = PartialFile::create(target)?;
    let mut write = || {
        partial.write(parts)?;
        partial.file.sync_all()?;
        partial.rename(target)?;
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))
    };
    write().map_err(TrainError::io("write", target))
}

/// As [`write_atomically`], without waiting for the disk: for what can be made again.
///
/// # Errors
/// [`TrainError::Io`] naming `target`.
pub(crate) fn replace(target: &Path, content: &[u8]) -> Result<()> {
    let mut partial = PartialFile::create(target)?;
    let mut write = || {
        partial.write(&[content])?;
        partial.rename(target)
    };
    write().map_err(TrainError::io("write", target))
}

/// Removes what a killed process left half-written in `folder`.
pub(crate) fn remove_partials(folder: &Path) -> Result<()> {
    for path in list(folder)? {
        if is_partial(&path) {
            fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
        }
    }
    Ok(())
}

pub(crate) fn is_partial(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'));
    hidden
        && path
            .extension()
            .is_some_and(|extension| extension == PARTIAL)
}

/// The paths in `folder`, ordered; none if it does not exist.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TrainError::io("read", folder)(error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(TrainError::io("read", folder))?;
    paths.sort();
    Ok(paths)
}

/// Makes `folder` and its parents.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(TrainError::io("create", folder))
}

/// A rename is on the disk once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// Folders cannot be opened for a sync here; the file itself is synced.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        write_atomically(&target, &[b"one", b"two"]).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"onetwo");
        replace(&target, b"three").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"three");
        let missing = folder.path().join("no/such/a.bin");
        let error = write_atomically(&missing, &[b""]).unwrap_err().to_string();
        assert!(error.contains("no/such/a.bin"), "{error}");
        // A folder in the way: the rename fails, the temporary file goes.
        let blocked = folder.path().join("blocked");
        fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(write_atomically(&blocked, &[b"x"]).is_err());
        assert_eq!(list(folder.path()).unwrap(), [target, blocked]);
    }

    #[cfg(unix)]
    #[test]
    fn the_mode_follows_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, b"").unwrap();
        let ours = folder.path().join("ours");
        write_atomically(&ours, &[b""]).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".a.bin.partial"), b"half").unwrap();
        fs::write(folder.path().join("my.partial"), b"mine").unwrap();
        remove_partials(folder.path()).unwrap();
        assert_eq!(
            list(folder.path()).unwrap(),
            [folder.path().join("my.partial")]
        );
        remove_partials(&folder.path().join("absent")).unwrap();
    }
}
