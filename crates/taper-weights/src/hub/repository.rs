//! A file of a repository, through the cache.

use super::cache::{RepositoryCache, is_commit, make_parent, put};
use super::http::Asked;
use super::transfer::{Transfer, impostor};
use super::{Digest, Event, Fetched, Hub, HubError, Progress};
use reqwest::Url;
use reqwest::blocking::Response;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, LOCATION};

/// The hub's own redirects (a renamed repository) that are followed.
const REDIRECTS: usize = 5;

/// What the hub tells of a file before it sends it.
struct Announced {
    commit: String,
    etag: String,
    digest: Digest,
    bytes: Option<u64>,
}

/// One file at one revision.
pub(super) struct RepositoryFile<'a> {
    hub: &'a Hub,
    repository: &'a str,
    revision: &'a str,
    file: &'a str,
    what: String,
    cache: RepositoryCache,
}

impl<'a> RepositoryFile<'a> {
    pub(super) fn new(hub: &'a Hub, repository: &'a str, revision: &'a str, file: &'a str) -> Self {
        Self {
            hub,
            repository,
            revision,
            file,
            what: format!("{repository}/{file} (revision {revision})"),
            cache: RepositoryCache::new(&hub.http.settings.cache, repository),
        }
    }

    fn asked(&self) -> Asked<'a> {
        Asked::Hub {
            repository: self.repository,
            revision: self.revision,
            file: Some(self.file),
        }
    }

    /// From the cache where that is whole, else from the hub.
    pub(super) fn fetch(&self, progress: Progress<'_>) -> Result<Fetched, HubError> {
        let offline = self.hub.http.settings.offline;
        if (offline || is_commit(self.revision))
            && let Some(found) = self.cached_copy(offline, progress)?
        {
            return Ok(found);
        }
        if offline {
            return Err(HubError::Offline {
                what: self.what.clone(),
                cache: self.cache.cache.clone(),
            });
        }
        match self.announced(progress) {
            Ok(announced) => self.download(&announced, progress),
            Err(error) if error.is_passing() => match self.cached_copy(false, progress)? {
                Some(found) => {
                    let reason = error.to_string();
                    let first = reason.lines().next().unwrap_or_default();
                    progress(Event::Note(format!("{first}; the cached copy is used")));
                    Ok(found)
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The cached file, if it is there and whole. A damaged one is removed, but not when it could
    /// not be fetched anew.
    fn cached_copy(
        &self,
        offline: bool,
        progress: Progress<'_>,
    ) -> Result<Option<Fetched>, HubError> {
        let Some(commit) = self.cache.commit(self.revision) else {
            return Ok(None);
        };
        let Some((path, digest)) = self.cache.cached(&commit, self.file)? else {
            return Ok(None);
        };
        let Some(digest) = digest else {
            // A cache without links does not say what the file should be: only the hub can.
            if !offline {
                return Ok(None);
            }
            progress(Event::Note(format!(
                "{}: its cached copy cannot be verified offline",
                self.what
            )));
            return Ok(Some(Fetched::of(path, Some(commit), None, true)?));
        };
        match digest.differs(&path)? {
            None => Ok(Some(Fetched::of(path, Some(commit), Some(digest), true)?)),
            Some(found) if offline => Err(HubError::Digest {
                what: path.display().to_string(),
                kind: digest.kind(),
                found,
                expected: digest.digits().to_string(),
                advice: "the cached copy is damaged: unset HF_HUB_OFFLINE, and it is fetched anew"
                    .to_string(),
            }),
            Some(found) => {
                self.note_damage(&digest, &found, progress);
                self.cache.discard(&path)?;
                Ok(None)
            }
        }
    }

    fn note_damage(&self, digest: &Digest, found: &str, progress: Progress<'_>) {
        progress(Event::Note(format!(
            "{}: the cached copy is damaged ({} {found}, expected {}): removed, fetched anew",
            self.what,
            digest.kind(),
            digest.digits()
        )));
    }

    /// Asks for commit, digest and size.
    fn announced(&self, progress: Progress<'_>) -> Result<Announced, HubError> {
        let mut url = self.address(self.revision)?;
        for _ in 0..=REDIRECTS {
            let http = &self.hub.http;
            let ask = || {
                let request = http.bare.head(url.clone());
                let request = request.header(ACCEPT_ENCODING, "identity");
                match &http.settings.token {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                }
            };
            let response = http.send(&self.what, &self.asked(), ask, progress)?;
            let status = response.status();
            if status.is_redirection() && text(&response, "x-repo-commit").is_none() {
                url = self.next(&url, &response)?;
                continue;
            }
            if !status.is_success() && !status.is_redirection() {
                return Err(http.refusal(&self.what, &self.asked(), &response, 1));
            }
            return self.read(&response);
        }
        Err(HubError::answer(&self.what, "redirects in a circle"))
    }

    /// A redirect within the hub's origin; the token goes nowhere else.
    fn next(&self, url: &Url, response: &Response) -> Result<Url, HubError> {
        let location = text(response, LOCATION.as_str()).unwrap_or_default();
        let next = url.join(&location).map_err(|error| {
            HubError::answer(&self.what, format!("redirects to {location:?}: {error}"))
        })?;
        if next.origin() != url.origin() {
            let origin = next.origin().ascii_serialization();
            return Err(HubError::answer(
                &self.what,
                format!(
                    "{} redirects to {origin} without saying which commit the file belongs to: set HF_ENDPOINT to the hub itself",
                    self.hub.http.settings.endpoint
                ),
            ));
        }
        Ok(next)
    }

    fn read(&self, response: &Response) -> Result<Announced, HubError> {
        let lacks = |reason: String| HubError::answer(&self.what, reason);
        let commit = text(response, "x-repo-commit").unwrap_or_default();
        if !is_commit(&commit) {
            return Err(lacks(format!(
                "the answer's X-Repo-Commit is {commit:?}, expected 40 hexadecimal digits: is {} a Hugging Face hub?",
                self.hub.http.settings.endpoint
            )));
        }
        let etag = text(response, "x-linked-etag").or_else(|| text(response, ETAG.as_str()));
        let etag = etag.unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_string();
        let Some(digest) = Digest::of_etag(&etag) else {
            return Err(lacks(format!(
                "the answer's ETag is {etag:?}, expected a SHA-256 or a git blob's SHA-1: the file could not be verified"
            )));
        };
        let length = match response.status().is_redirection() {
            true => None,
            false => text(response, CONTENT_LENGTH.as_str()),
        };
        let bytes = text(response, "x-linked-size").or(length);
        Ok(Announced {
            commit,
            etag,
            digest,
            bytes: bytes.and_then(|bytes| bytes.parse().ok()),
        })
    }

    /// `ENDPOINT/REPOSITORY/resolve/REVISION/FILE`, the revision as one segment.
    fn address(&self, revision: &str) -> Result<Url, HubError> {
        let endpoint = &self.hub.http.settings.endpoint;
        let wrong = |reason: String| {
            HubError::answer(
                "HF_ENDPOINT",
                format!("{endpoint:?}: {reason}; expected for example https://huggingface.co"),
            )
        };
        let mut url = Url::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("no http:// or https:// address".to_string()));
        }
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| wrong("no address".to_string()))?;
            segments.pop_if_empty().extend(self.repository.split('/'));
            segments.push("resolve").push(revision);
            segments.extend(self.file.split('/'));
        }
        Ok(url)
    }

    fn download(&self, announced: &Announced, progress: Progress<'_>) -> Result<Fetched, HubError> {
        let (blob, digest) = (self.cache.blob(&announced.etag), &announced.digest);
        make_parent(&blob)?;
        let _lock = self.cache.lock(&announced.etag, progress)?;
        let cached = blob.exists() && {
            let resolved = blob.canonicalize().map_err(HubError::io(&blob))?;
            let folder = blob.parent().unwrap_or(&blob).canonicalize();
            if folder.ok().as_deref() != resolved.parent() {
                return Err(HubError::OutsideCache {
                    link: blob,
                    target: resolved,
                });
            }
            match digest.differs(&blob)? {
                None => true,
                Some(found) => {
                    self.note_damage(digest, &found, progress);
                    super::transfer::remove(&blob)?;
                    false
                }
            }
        };
        if !cached {
            self.transfer(announced, &blob, progress)?;
        }
        let pointer = self
            .cache
            .link(&announced.commit, self.file, &announced.etag)?;
        self.cache.write_commit(self.revision, &announced.commit)?;
        Fetched::of(
            pointer,
            Some(announced.commit.clone()),
            Some(digest.clone()),
            cached,
        )
    }

    /// Fetches and verifies, once more if the bytes are wrong.
    fn transfer(
        &self,
        announced: &Announced,
        blob: &std::path::Path,
        progress: Progress<'_>,
    ) -> Result<(), HubError> {
        let partial = self.cache.partial(&announced.etag);
        // Of the commit, so that a push in between changes nothing.
        let url = self.address(&announced.commit)?;
        let transfer = Transfer {
            what: &self.what,
            asked: self.asked(),
            url: url.as_str(),
            token: self.hub.http.settings.token.as_deref(),
            partial: &partial,
            total: announced.bytes,
            addressed_by_content: true,
        };
        transfer.verified(&self.hub.http, &announced.digest, progress)?;
        put(&partial, blob)?;
        progress(Event::Done);
        Ok(())
    }
}

impl Transfer<'_> {
    /// Runs until the partial file has the digest; wrong bytes are removed and fetched once more.
    pub(super) fn verified(
        &self,
        http: &super::http::Http,
        digest: &Digest,
        progress: Progress<'_>,
    ) -> Result<(), HubError> {
        for last in [false, true] {
            self.run(http, progress)?;
            let Some(found) = digest.differs(self.partial)? else {
                return Ok(());
            };
            let impostor = impostor(self.partial);
            self.forget()?;
            if last {
                return Err(HubError::Digest {
                    what: self.what.to_string(),
                    kind: digest.kind(),
                    found,
                    expected: digest.digits().to_string(),
                    advice: match impostor {
                        Some(found) => format!("twice the server sent {found} in the file's place: nothing is kept"),
                        None => "twice the server sent other bytes than it should: nothing is kept. A proxy or the mirror may be at fault".to_string(),
                    },
                });
            }
            progress(Event::Note(format!(
                "{}: wrong {} {found}, expected {}: fetched once more",
                self.what,
                digest.kind(),
                digest.digits()
            )));
        }
        Ok(())
    }
}

fn text(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(value.trim().to_string())
}
