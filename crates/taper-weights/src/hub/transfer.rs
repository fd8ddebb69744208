//! The bytes of one file into a partial file, resumed where an earlier transfer stopped.

use super::http::{Asked, Http, chain};
use super::{Event, HubError, Progress};
use reqwest::blocking::Response;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE,
};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the bytes on disk are told.
const NEWS: Duration = Duration::from_millis(100);

/// What to fetch, and where to.
pub(super) struct Transfer<'a> {
    /// For messages.
    pub(super) what: &'a str,
    pub(super) asked: Asked<'a>,
    pub(super) url: &'a str,
    /// Sent to the address, never to where it redirects.
    pub(super) token: Option<&'a str>,
    /// Grows; stays after a failure.
    pub(super) partial: &'a Path,
    /// Bytes of the whole, where already known.
    pub(super) total: Option<u64>,
    /// Whether `partial` is named by the content's digest: else its validator is kept beside it.
    pub(super) addressed_by_content: bool,
}

/// How a response goes on with what is on disk.
enum Body {
    /// From its first byte.
    Whole,
    /// From the end of the partial file.
    Rest,
    /// The server has nothing for this range.
    Unsatisfiable,
}

impl Transfer<'_> {
    /// Leaves the whole file in `partial`.
    pub(super) fn run(&self, http: &Http, progress: Progress<'_>) -> Result<(), HubError> {
        let name = self.url_name();
        let (mut failures, mut best, mut total) = (0, 0, self.total);
        let mut started = false;
        loop {
            let have = self.have(total)?;
            if have > 0 && total == Some(have) {
                return Ok(());
            }
            let response = self.request(http, have, progress)?;
            let body = self.judge(http, &response, have, &mut total)?;
            match body {
                Body::Unsatisfiable => {
                    progress(Event::Note(format!("{}: starts anew", self.what)));
                    self.forget()?;
                    failures += 1;
                    if failures >= http.settings.attempts.max(2) {
                        return Err(http.refusal(self.what, &self.asked, &response, failures));
                    }
                    continue;
                }
                Body::Whole if have > 0 => progress(Event::Note(format!(
                    "{}: the server does not resume: starts anew",
                    self.what
                ))),
                Body::Rest if !started => progress(Event::Note(format!(
                    "{}: resumes after {have} bytes",
                    self.what
                ))),
                _ => {}
            }
            let from = if matches!(body, Body::Rest) { have } else { 0 };
            if from == 0 {
                self.remember(response.headers())?;
            }
            if !started {
                progress(Event::Start {
                    file: name.clone(),
                    have: from,
                    total,
                });
                started = true;
            }
            let reason = match self.receive(response, from, total, progress)? {
                None => return Ok(()),
                Some(reason) => reason,
            };
            let have = length(self.partial)?;
            // Only bytes that were never there before count as getting on.
            failures = if have > best { 1 } else { failures + 1 };
            best = best.max(have);
            let attempts = http.settings.attempts.max(1);
            if failures >= attempts {
                return Err(HubError::Connection {
                    what: self.what.to_string(),
                    reason,
                    attempts: failures,
                    kept: format!(
                        "{have} bytes are kept: repeat the command, and it goes on from there"
                    ),
                });
            }
            let pause = http.pause(failures, None);
            progress(Event::Note(format!(
                "{}: {reason}; goes on in {:.1} s",
                self.what,
                pause.as_secs_f64()
            )));
            std::thread::sleep(pause);
        }
    }

    fn url_name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_string()
    }

    /// Bytes on disk that can be gone on from.
    fn have(&self, total: Option<u64>) -> Result<u64, HubError> {
        let have = length(self.partial)?;
        let too_long = total.is_some_and(|total| have > total);
        let unsure = !self.addressed_by_content && self.validator().is_none();
        if have > 0 && (too_long || unsure) {
            self.forget()?;
            return Ok(0);
        }
        Ok(have)
    }

    fn request(
        &self,
        http: &Http,
        have: u64,
        progress: Progress<'_>,
    ) -> Result<Response, HubError> {
        let build = || {
            let mut request = http
                .following
                .get(self.url)
                .header(ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token {
                request = request.bearer_auth(token);
            }
            if have > 0 {
                request = request.header(RANGE, format!("bytes={have}-"));
                if let Some(validator) = self.validator() {
                    request = request.header(IF_RANGE, validator);
                }
            }
            request
        };
        http.send(self.what, &self.asked, build, progress)
    }

    /// Whether the response goes on at `have`, and that it agrees on the whole length.
    fn judge(
        &self,
        http: &Http,
        response: &Response,
        have: u64,
        total: &mut Option<u64>,
    ) -> Result<Body, HubError> {
        let (body, announced) = match response.status().as_u16() {
            200 => (Body::Whole, number(response.headers())),
            206 => match content_range(response.headers()) {
                Some((from, whole)) if from == have => (Body::Rest, whole),
                _ => return Ok(Body::Unsatisfiable),
            },
            416 if have > 0 => return Ok(Body::Unsatisfiable),
            _ => return Err(http.refusal(self.what, &self.asked, response, 1)),
        };
        match (*total, announced) {
            (Some(expected), Some(found)) if expected != found => Err(HubError::answer(
                self.what,
                format!(
                    "the server announces {found} bytes, expected {expected}: repeat the command; if it stays so, the file was changed, or a web page stands in its place"
                ),
            )),
            (None, found) => {
                *total = found;
                Ok(body)
            }
            _ => Ok(body),
        }
    }

    /// Appends the body: `Some(reason)` when the connection broke before the end.
    fn receive(
        &self,
        mut response: Response,
        from: u64,
        total: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<Option<String>, HubError> {
        let mut file = self.open(from)?;
        let mut piece = vec![0u8; 256 << 10];
        let (mut done, mut told) = (from, Instant::now());
        let broke = loop {
            let read = match response.read(&mut piece) {
                Ok(0) => break None,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(chain(&error)),
            };
            done += read as u64;
            if total.is_some_and(|total| done > total) {
                self.forget()?;
                let reason = format!(
                    "the server sends more than the {} bytes it announced",
                    total.unwrap_or(0)
                );
                return Err(HubError::answer(self.what, reason));
            }
            if let Err(source) = file.write_all(&piece[..read]) {
                return Err(self.full(source, total));
            }
            if told.elapsed() >= NEWS {
                told = Instant::now();
                progress(Event::Bytes { done });
            }
        };
        if let Err(source) = file.sync_all() {
            return Err(self.full(source, total));
        }
        progress(Event::Bytes { done });
        Ok(match broke {
            None if total.is_none_or(|total| total == done) => None,
            None => Some(format!(
                "the connection was closed after {done} of {} bytes",
                total.unwrap_or(0)
            )),
            Some(reason) => Some(format!(
                "the connection broke after {done} bytes ({reason})"
            )),
        })
    }

    fn open(&self, from: u64) -> Result<File, HubError> {
        let mut options = OpenOptions::new();
        let options = match from {
            0 => options.write(true).create(true).truncate(true),
            _ => options.append(true),
        };
        options
            .open(self.partial)
            .map_err(HubError::io(self.partial))
    }

    /// No space: the part goes, so that the disk is left as it was.
    fn full(&self, source: std::io::Error, total: Option<u64>) -> HubError {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            let _ = self.forget();
        }
        HubError::Io {
            path: self.partial.to_path_buf(),
            source,
            needed: total,
        }
    }

    fn validator_path(&self) -> PathBuf {
        let mut name = self.partial.as_os_str().to_os_string();
        name.push(".validator");
        PathBuf::from(name)
    }

    fn validator(&self) -> Option<String> {
        if self.addressed_by_content {
            return None;
        }
        let text = std::fs::read_to_string(self.validator_path()).ok()?;
        let plain = |character: char| character == ' ' || character.is_ascii_graphic();
        (!text.is_empty() && text.chars().all(plain)).then_some(text)
    }

    /// Keeps what tells, at a resumption, whether the file is still the same.
    fn remember(&self, headers: &HeaderMap) -> Result<(), HubError> {
        if self.addressed_by_content {
            return Ok(());
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let strong = text(ETAG).filter(|tag| !tag.starts_with("W/"));
        let path = self.validator_path();
        match strong.or_else(|| text(LAST_MODIFIED)) {
            Some(validator) => std::fs::write(&path, validator).map_err(HubError::io(path)),
            None => remove(&path),
        }
    }

    /// Removes the partial file.
    pub(super) fn forget(&self) -> Result<(), HubError> {
        remove(self.partial)?;
        remove(&self.validator_path())
    }

    /// Removes what stands beside the partial file once that has got its name.
    pub(super) fn clean(&self) -> Result<(), HubError> {
        remove(&self.validator_path())
    }
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HubError::io(path)(error))
        }
        _ => Ok(()),
    }
}

fn length(path: &Path) -> Result<u64, HubError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len()),
        // A link or a folder under the name of a partial file is none of ours.
        Ok(_) => Err(HubError::answer(
            path.display().to_string(),
            "found no plain file under the name of a partial download: remove it",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(HubError::io(path)(error)),
    }
}

fn number(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// `bytes FROM-TO/WHOLE`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, whole.trim().parse().ok()))
}

/// Names what stands in a checkpoint's place, if it is a web page or a Git LFS pointer.
pub(super) fn impostor(path: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    File::open(path)
        .ok()?
        .take(512)
        .read_to_end(&mut start)
        .ok()?;
    let text = String::from_utf8_lossy(&start)
        .trim_start()
        .to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        Some("a web page")
    } else if text.starts_with("version https://git-lfs") {
        Some("a Git LFS pointer")
    } else {
        None
    }
}
