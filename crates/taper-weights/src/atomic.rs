//! A file that appears whole or not at all: temporary file, sync, rename, sync of the folder.

use crate::WeightsError;
use std::fs::File;
use std::path::Path;

/// What may stand at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Replaced if it is there.
    Any,
    /// Must not be there, up to the last moment.
    New,
}

/// Lets `fill` write a temporary file in the folder of `path`, then gives it that name.
///
/// # Errors
/// Those of `fill`; [`WeightsError::Write`], [`WeightsError::Exists`]. What stood at `path` still
/// does, and the temporary file is gone.
pub(crate) fn write_atomically(
    path: &Path,
    target: Target,
    fill: impl FnOnce(&mut File) -> Result<(), WeightsError>,
) -> Result<(), WeightsError> {
    let failed = |source| WeightsError::Write {
        path: path.to_path_buf(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut file = tempfile::Builder::new()
        .prefix(".taper-")
        .permissions(umask_permissions())
        .tempfile_in(folder)
        .map_err(failed)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all().map_err(failed)?;
    match target {
        Target::Any => file.persist(path).map_err(|error| failed(error.error))?,
        Target::New => file
            .persist_noclobber(path)
            .map_err(|error| match error.error.kind() {
                std::io::ErrorKind::AlreadyExists => WeightsError::Exists {
                    path: path.to_path_buf(),
                },
                _ => failed(error.error),
            })?,
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed)
}

/// 0666 less the umask, as any other file: the temporary file's 0600 would outlive the rename.
fn umask_permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}
