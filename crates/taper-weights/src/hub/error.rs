//! What can go wrong on the way from a hub or an address to a file, and what to do about it.

use std::path::PathBuf;

/// Each variant names the file or the address, what was found and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a file, nor a repository, nor an address.
    #[error(
        "{spec}: {reason}\nexpected a file, OWNER/NAME[@REVISION][/FILE] of the hub, an https:// address, or a file that `taper weights list` names"
    )]
    Specification {
        /// As typed.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub wants to know who asks, or does not know the repository.
    #[error("{what}: 401 not authorised\n{advice}")]
    Unauthorised {
        /// Repository or address.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The hub knows who asks and refuses.
    #[error("{what}: 403 forbidden{}\n{advice}", detail(.message))]
    Forbidden {
        /// Repository or address.
        what: String,
        /// The server's words.
        message: String,
        /// What to do.
        advice: String,
    },
    /// No such repository, revision, file or address.
    #[error("{what}: 404 not found\n{advice}")]
    NotFound {
        /// Repository, file and revision, or address.
        what: String,
        /// What to do.
        advice: String,
    },
    /// Too many requests, still after waiting.
    #[error("{what}: 429 too many requests, after {attempts} attempts{}\nwait, then repeat the command: what has arrived is kept; a token (HF_TOKEN) has a higher limit", wait(.retry_after))]
    RateLimited {
        /// Repository or address.
        what: String,
        /// How often it was tried.
        attempts: usize,
        /// Seconds that the server asks to wait.
        retry_after: Option<u64>,
    },
    /// Another status of the server, still after repeating.
    #[error("{what}: the server answered {status}, after {attempts} attempts\n{advice}")]
    Server {
        /// Repository or address.
        what: String,
        /// The HTTP status.
        status: u16,
        /// How often it was tried.
        attempts: usize,
        /// What to do.
        advice: String,
    },
    /// No connection, or one that broke too often.
    #[error("{what}: {reason}, after {attempts} attempts\n{kept}")]
    Connection {
        /// Repository or address.
        what: String,
        /// The system's reason.
        reason: String,
        /// How often it was tried.
        attempts: usize,
        /// What is on disk, and what a repetition does.
        kept: String,
    },
    /// The server's answer lacks what a download needs, or has something unsafe in it.
    #[error("{what}: {reason}")]
    Answer {
        /// Repository or address.
        what: String,
        /// What was found, and what would be right.
        reason: String,
    },
    /// The bytes are not those that were announced, twice.
    #[error("{what}: wrong {kind}\n  found    {found}\n  expected {expected}\n{advice}")]
    Digest {
        /// Repository and file, or address, or cached file.
        what: String,
        /// SHA-256, git blob SHA-1, …
        kind: &'static str,
        /// Of the bytes that came.
        found: String,
        /// Of the bytes that were announced.
        expected: String,
        /// What was done, and what to do.
        advice: String,
    },
    /// Offline, and the file is not in the cache.
    #[error(
        "{what}: not in the cache {}, and HF_HUB_OFFLINE forbids to fetch it\nunset HF_HUB_OFFLINE, or copy the file here and name its path", cache.display()
    )]
    Offline {
        /// Repository and file, or address.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// A link in the cache leads out of it.
    #[error(
        "{}: leads out of the cache, to {}\nremove the link, and the file is fetched anew", link.display(), target.display()
    )]
    OutsideCache {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A repository with no weights, or with several that could be meant.
    #[error("{repository}: {reason}\nname one: {repository}/FILE")]
    Choose {
        /// The repository.
        repository: String,
        /// What it has.
        reason: String,
    },
    /// The disk refused.
    #[error("{}: {source}{}", path.display(), space(.source, .needed))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// Bytes of the whole file, where known.
        needed: Option<u64>,
    },
}

impl HubError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            source,
            needed: None,
        }
    }

    pub(super) fn answer(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Answer {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// Whether the server could not be reached or failed, so that a cached copy may stand in.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. } | Self::Server { .. } | Self::RateLimited { .. }
        )
    }
}

fn detail(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let short: String = line.chars().take(200).collect();
    if short.is_empty() || short.starts_with('<') {
        return String::new();
    }
    format!(": {short}")
}

fn wait(seconds: &Option<u64>) -> String {
    seconds.map_or(String::new(), |seconds| {
        format!("; the server asks to wait {seconds} s")
    })
}

fn space(source: &std::io::Error, needed: &Option<u64>) -> String {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match (source.kind(), needed) {
        (StorageFull | QuotaExceeded | FileTooLarge, Some(bytes)) => format!(
            "\nthe whole file has {bytes} bytes; the part that had arrived is removed. Free space, or set HF_HOME to another disk"
        ),
        _ => String::new(),
    }
}
