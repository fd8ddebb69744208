//! `SHA256SUMS` beside the data: lines of `sha256sum`, paths relative to the list.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{DataError, Result};

/// Name of the list.
const LIST: &str = "SHA256SUMS";
/// How many folders above a file are searched for a list: its own, the set's and the set's parent.
const LEVELS: usize = 3;

/// Checks `path` against the nearest `SHA256SUMS` that lists it, in its folder or up to two above.
/// `false`: no list covers it.
///
/// # Errors
/// [`DataError::Checksum`] naming both sums, [`DataError::Io`].
pub fn verify_file(path: &Path) -> Result<bool> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(false);
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let folder = folder.canonicalize().map_err(DataError::io(folder))?;
    for ancestor in folder.ancestors().take(LEVELS) {
        let list = ancestor.join(LIST);
        if !list.is_file() {
            continue;
        }
        let below = folder.strip_prefix(ancestor).unwrap_or(Path::new(""));
        if let Some(expected) = read_list(&list)?.get(&below.join(name)) {
            check(path, expected, &list)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks every file under `directory` that a `SHA256SUMS` in it or in its parent lists, and gives
/// back their paths.
///
/// # Errors
/// [`DataError::Checksum`] for a file that differs, [`DataError::MissingFile`] for one that is
/// listed and not there, [`DataError::Format`] when no list covers the folder.
pub fn verify(directory: &Path) -> Result<Vec<PathBuf>> {
    let directory = directory.canonicalize().map_err(DataError::io(directory))?;
    let mut verified = Vec::new();
    for folder in directory.ancestors().take(2) {
        let list = folder.join(LIST);
        if !list.is_file() {
            continue;
        }
        for (entry, expected) in read_list(&list)? {
            let path = folder.join(entry);
            if !path.starts_with(&directory) {
                continue;
            }
            if !path.is_file() {
                return Err(DataError::MissingFile {
                    path,
                    belongs_to: list,
                });
            }
            check(&path, &expected, &list)?;
            verified.push(path);
        }
    }
    if verified.is_empty() {
        let expected = format!("a {LIST} in it or its parent that lists its files");
        return Err(DataError::format(directory, "no checksums", expected));
    }
    Ok(verified)
}

fn check(path: &Path, expected: &str, list: &Path) -> Result<()> {
    let found = sha256(path)?;
    if found == expected {
        return Ok(());
    }
    Err(DataError::Checksum {
        path: path.into(),
        found,
        expected: expected.into(),
        list: list.into(),
    })
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(DataError::io(path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The lines `HASH  PATH` or `HASH *PATH`; any other line belongs to somebody else's format and is passed over.
fn read_list(list: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let text = std::fs::read(list).map_err(DataError::io(list))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(read_line).collect())
}

fn read_line(line: &str) -> Option<(PathBuf, String)> {
    let (hash, path) = line.split_once(' ')?;
    let is_sum = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let path = path.strip_prefix([' ', '*'])?;
    let path = path.strip_prefix("./").unwrap_or(path);
    is_sum.then(|| (PathBuf::from(path), hash.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // echo -n abc | sha256sum
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn lists_above_the_file_are_found_and_both_sums_are_named() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("set/sub");
        std::fs::create_dir_all(&deep).unwrap();
        let file = deep.join("a.bin");
        std::fs::write(&file, "abc").unwrap();
        assert!(!verify_file(&file).unwrap());
        let list = root.path().join(LIST);
        std::fs::write(&list, format!("# a remark\n{ABC}  set/sub/a.bin\n")).unwrap();
        assert!(verify_file(&file).unwrap());
        assert_eq!(verify(&root.path().join("set")).unwrap().len(), 1);
        std::fs::write(&file, "abd").unwrap();
        for error in [
            verify_file(&file).unwrap_err(),
            verify(root.path()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(
                text.contains("wrong checksum") && text.contains(ABC),
                "{text}"
            );
            assert!(
                text.contains("a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9")
            );
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(
            verify(root.path()),
            Err(DataError::MissingFile { .. })
        ));
        std::fs::remove_file(list).unwrap();
        assert!(matches!(verify(root.path()), Err(DataError::Format { .. })));
    }

    #[test]
    fn only_lines_of_sha256sum_are_read() {
        assert!(read_line(&format!("{ABC} *./a")).is_some_and(|(p, _)| p == Path::new("a")));
        assert!(read_line("SHA256 (a) = 12").is_none());
        assert!(read_line("").is_none());
        assert!(read_line(&format!("{}  a", &ABC[1..])).is_none());
    }
}
