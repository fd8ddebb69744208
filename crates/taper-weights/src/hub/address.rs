//! A file from a plain address, kept in a cache of its own.

use super::cache::{lock, make_parent, put};
use super::http::Asked;
use super::transfer::{Transfer, impostor, remove};
use super::{Digest, Event, Fetched, Hub, HubError, Progress};
use sha2::Digest as _;
use std::path::{Path, PathBuf};

/// Where the file of an address is kept, and under which name.
pub(super) fn cached_path(hub: &Hub, url: &str) -> PathBuf {
    let key = sha2::Sha256::digest(url.as_bytes());
    let key: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    hub.http.settings.url_cache.join(key).join(file_name(url))
}

/// The last piece of the address's path, with nothing in it that could lead elsewhere.
pub(super) fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = match after_scheme.split_once('/') {
        Some((_, path)) => path.rsplit('/').next().unwrap_or_default(),
        None => "",
    };
    let plain = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => character,
        _ => '_',
    };
    let name: String = last.chars().take(200).map(plain).collect();
    match name.trim_start_matches('.') {
        "" => "file".to_string(),
        name => name.to_string(),
    }
}

/// The address without what may be secret in it: user, password, query.
pub(super) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}/{path}")
        }
        None => plain.to_string(),
    }
}

/// Fetches `url` to `path` unless a whole copy is there. `digest` decides; without one the name's
/// eight digits do, without those the digest noted at the first download.
pub(super) fn fetch(
    hub: &Hub,
    url: &str,
    path: &Path,
    digest: Option<&Digest>,
    progress: Progress<'_>,
) -> Result<Fetched, HubError> {
    let what = shown(url);
    let named = Digest::of_name(&file_name(url));
    let published = digest.cloned().or(named);
    let noted = beside(path, "sha256");
    make_parent(path)?;
    let _lock = lock(&beside(path, "lock"), progress)?;
    let known = published.clone().or_else(|| {
        let text = std::fs::read_to_string(&noted).ok()?;
        Digest::sha256(&text).ok()
    });
    if path.exists() {
        match cached(hub, path, known.as_ref(), progress)? {
            true => return Fetched::of(path.to_path_buf(), None, known, true),
            false => remove(path)?,
        }
    }
    if hub.http.settings.offline {
        return Err(HubError::Offline {
            what,
            cache: path.to_path_buf(),
        });
    }
    let partial = beside(path, "incomplete");
    let transfer = Transfer {
        what: &what,
        asked: Asked::Url,
        url,
        token: None,
        partial: &partial,
        total: None,
        addressed_by_content: false,
    };
    let digest = match published {
        Some(digest) => {
            transfer.verified(&hub.http, &digest, progress)?;
            digest
        }
        None => {
            transfer.run(&hub.http, progress)?;
            refuse_impostor(&transfer)?;
            let digest = Digest::Sha256(Digest::Sha256(String::new()).measure(&partial)?);
            std::fs::write(&noted, digest.digits()).map_err(HubError::io(&noted))?;
            progress(Event::Note(format!(
                "{what}: no digest is known; its SHA-256 is {} (pass it as --sha256 next time)",
                digest.digits()
            )));
            digest
        }
    };
    put(&partial, path)?;
    transfer.clean()?;
    progress(Event::Done);
    Fetched::of(path.to_path_buf(), None, Some(digest), false)
}

/// Whether the copy on disk is whole; a damaged one is an error offline.
fn cached(
    hub: &Hub,
    path: &Path,
    known: Option<&Digest>,
    progress: Progress<'_>,
) -> Result<bool, HubError> {
    let Some(digest) = known else {
        return Ok(false);
    };
    let found_file = std::fs::symlink_metadata(path).map_err(HubError::io(path))?;
    if found_file.is_symlink() {
        return Err(HubError::OutsideCache {
            link: path.to_path_buf(),
            target: path.canonicalize().unwrap_or_default(),
        });
    }
    let Some(found) = digest.differs(path)? else {
        return Ok(true);
    };
    if hub.http.settings.offline {
        return Err(HubError::Digest {
            what: path.display().to_string(),
            kind: digest.kind(),
            found,
            expected: digest.digits().to_string(),
            advice: "the copy on disk is damaged or another file: unset HF_HUB_OFFLINE, and it is fetched anew".to_string(),
        });
    }
    progress(Event::Note(format!(
        "{}: {} {found}, expected {}: removed, fetched anew",
        path.display(),
        digest.kind(),
        digest.digits()
    )));
    Ok(false)
}

fn refuse_impostor(transfer: &Transfer<'_>) -> Result<(), HubError> {
    let Some(found) = impostor(transfer.partial) else {
        return Ok(());
    };
    transfer.forget()?;
    Err(HubError::answer(
        transfer.what,
        format!(
            "found {found}, expected a file of weights: copy the address of the file itself (on GitHub: the `raw` link)"
        ),
    ))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else_and_secrets_stay_secret() {
        assert_eq!(
            file_name("https://x.org/a/w-12fca82f.th?x=/../y"),
            "w-12fca82f.th"
        );
        assert_eq!(file_name("https://x.org/a/.."), "file");
        assert_eq!(file_name("https://x.org"), "file");
        assert_eq!(file_name("https://x.org/a%2Fb"), "a_2Fb");
        let text = shown("https://user:secret@x.org/a/w.th?token=secret");
        assert_eq!(text, "https://x.org/a/w.th");
    }
}
