//! Requests: repeated when they fail for a passing reason, and their failures told.

use super::{Event, HubError, HubSettings, Progress};
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// The longest pause that a server's `Retry-After` is obeyed for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Clients for one set of settings.
pub(super) struct Http {
    /// Follows redirects, and drops the token where they lead to another origin.
    pub(super) following: Client,
    /// Shows redirects: the hub tells a file's digest in the answer that redirects.
    pub(super) bare: Client,
    pub(super) settings: HubSettings,
}

/// Who was asked for what, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    Url,
    Hub {
        repository: &'a str,
        revision: &'a str,
        file: Option<&'a str>,
    },
}

impl Http {
    pub(super) fn new(settings: HubSettings) -> Result<Self, HubError> {
        let build = |policy| {
            Client::builder()
                .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(settings.timeout_seconds))
                // Of one read, not of the whole transfer.
                .timeout(Duration::from_secs(settings.timeout_seconds))
                .tcp_keepalive(Duration::from_secs(30))
                .redirect(policy)
                .build()
                .map_err(|error| HubError::answer(&settings.endpoint, chain(&error)))
        };
        Ok(Self {
            following: build(reqwest::redirect::Policy::limited(10))?,
            bare: build(reqwest::redirect::Policy::none())?,
            settings,
        })
    }

    /// Sends until the answer is neither lost nor of a passing kind, or the attempts are used up.
    pub(super) fn send(
        &self,
        what: &str,
        asked: &Asked<'_>,
        request: impl Fn() -> RequestBuilder,
        progress: Progress<'_>,
    ) -> Result<Response, HubError> {
        let attempts = self.settings.attempts.max(1);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt >= attempts;
            let (reason, asked_pause) = match request().send() {
                Ok(response) if is_passing(response.status()) => {
                    let seconds = retry_after(response.headers());
                    if last {
                        return Err(self.refusal(what, asked, &response, attempt));
                    }
                    let status = response.status().as_u16();
                    (format!("the server answered {status}"), seconds)
                }
                Ok(response) => return Ok(response),
                Err(error) if last || error.is_builder() || error.is_redirect() => {
                    return Err(HubError::Connection {
                        what: what.to_string(),
                        reason: chain(&error.without_url()),
                        attempts: attempt,
                        kept: "check the network and HF_ENDPOINT, then repeat the command"
                            .to_string(),
                    });
                }
                Err(error) => (chain(&error.without_url()), None),
            };
            let pause = self.pause(attempt, asked_pause);
            progress(Event::Note(format!(
                "{what}: {reason}; attempt {} of {attempts} in {:.1} s",
                attempt + 1,
                pause.as_secs_f64()
            )));
            std::thread::sleep(pause);
        }
    }

    /// Doubles with each attempt; a server that says how long to wait is obeyed, within reason.
    pub(super) fn pause(&self, attempt: usize, seconds: Option<u64>) -> Duration {
        let doubled = self.settings.pause_milliseconds << attempt.saturating_sub(1).min(6);
        let asked = seconds.map_or(Duration::ZERO, Duration::from_secs);
        Duration::from_millis(doubled).max(asked).min(LONGEST_PAUSE)
    }

    /// The error of an answer that is no success.
    pub(super) fn refusal(
        &self,
        what: &str,
        asked: &Asked<'_>,
        response: &Response,
        attempts: usize,
    ) -> HubError {
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_string)
        };
        let code = header("x-error-code").unwrap_or_default();
        let message = header("x-error-message").unwrap_or_default();
        self.refusal_of(
            what,
            asked,
            response.status().as_u16(),
            &code,
            message,
            || (attempts, retry_after(response.headers())),
        )
    }

    pub(super) fn refusal_of(
        &self,
        what: &str,
        asked: &Asked<'_>,
        status: u16,
        code: &str,
        message: String,
        tried: impl FnOnce() -> (usize, Option<u64>),
    ) -> HubError {
        let what = what.to_string();
        let (attempts, retry_after) = tried();
        match status {
            401 | 403 if code == "GatedRepo" => HubError::Forbidden {
                advice: self.gated(asked),
                what,
                message,
            },
            401 => HubError::Unauthorised {
                advice: self.unauthorised(asked),
                what,
            },
            403 => HubError::Forbidden {
                advice: self.forbidden(asked),
                what,
                message,
            },
            404 | 410 => HubError::NotFound {
                advice: not_found(asked, code),
                what,
            },
            429 => HubError::RateLimited {
                what,
                attempts,
                retry_after,
            },
            _ => HubError::Server {
                what,
                status,
                attempts,
                advice: match status {
                    500.. => "the fault is the server's: repeat the command later; what has arrived is kept".to_string(),
                    _ => "expected 200 or 206: check the address".to_string(),
                },
            },
        }
    }

    fn page(&self, asked: &Asked<'_>) -> String {
        match asked {
            Asked::Hub { repository, .. } => format!("{}/{repository}", self.settings.endpoint),
            Asked::Url => "its page".to_string(),
        }
    }

    fn gated(&self, asked: &Asked<'_>) -> String {
        let token = match self.settings.token {
            Some(_) => "the token in use belongs to an account without access".to_string(),
            None => {
                "then set HF_TOKEN to a token of that account, or run `hf auth login`".to_string()
            }
        };
        format!(
            "a gated repository: accept its terms at {}; {token}",
            self.page(asked)
        )
    }

    fn unauthorised(&self, asked: &Asked<'_>) -> String {
        match (asked, &self.settings.token) {
            (Asked::Url, _) => {
                "the address wants a login: download it by hand, and name the file".to_string()
            }
            (_, Some(_)) => "the token (HF_TOKEN, HF_TOKEN_PATH or `hf auth login`) is not valid, or the repository does not exist: check both".to_string(),
            (_, None) => "no such repository, or a private one: check the name; for a private one set HF_TOKEN, or run `hf auth login`".to_string(),
        }
    }

    fn forbidden(&self, asked: &Asked<'_>) -> String {
        match asked {
            Asked::Url => "the server refuses this address: download it by hand, and name the file"
                .to_string(),
            Asked::Hub { .. } => format!(
                "the token in use may not read it: ask for access at {}, or use a token with read access",
                self.page(asked)
            ),
        }
    }
}

fn not_found(asked: &Asked<'_>, code: &str) -> String {
    let Asked::Hub {
        repository,
        revision,
        file,
    } = asked
    else {
        return "check the address".to_string();
    };
    match (code, file) {
        ("RepoNotFound", _) | (_, None) => {
            format!("no repository {repository}: check the name; for a private one set HF_TOKEN")
        }
        ("RevisionNotFound", _) => {
            format!("{repository} has no branch, tag or commit {revision}: check --revision")
        }
        (_, Some(file)) => format!(
            "{repository} has no file {file} at revision {revision}: check the spelling; without /FILE its weights are found by looking"
        ),
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The innermost reasons: reqwest's own text stops at "error sending request".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
