//! Which files of a repository are its weights.

use super::http::{Asked, chain};
use super::repository::RepositoryFile;
use super::spec::is_inside;
use super::{Fetched, Hub, HubError, Progress};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClientBuilder, HFError};
use std::collections::BTreeSet;
use std::time::Duration;

/// Tried in this order.
const USUAL: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
];
/// Endings of checkpoints, the most wanted first.
const ENDINGS: [&str; 7] = ["safetensors", "pth", "pt", "th", "bin", "ckpt", "npz"];
/// The largest index file read.
const LARGEST_INDEX: u64 = 64 << 20;

/// Sent instead of no token: the client would look for one in the environment, and this one fits
/// into no header.
const NO_TOKEN: &str = "\0";

impl Hub {
    /// The repository's weights: one file, or an index and all its parts.
    pub(super) fn weights(
        &self,
        repository: &str,
        revision: &str,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        let files = match self.http.settings.offline {
            true => self.cached_files(repository, revision),
            false => match self.listed_files(repository, revision) {
                Err(error) if error.is_passing() => {
                    let cached = self.cached_files(repository, revision);
                    match cached.is_empty() {
                        true => return Err(error),
                        false => cached,
                    }
                }
                files => files?,
            },
        };
        if files.is_empty() && self.http.settings.offline {
            return Err(HubError::Offline {
                what: format!("{repository} (revision {revision})"),
                cache: self.http.settings.cache.clone(),
            });
        }
        let file = choose(repository, &files)?;
        self.file(repository, revision, &file, progress)
    }

    /// One file; of an index its parts too, from the same commit.
    pub(super) fn file(
        &self,
        repository: &str,
        revision: &str,
        file: &str,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        let mut fetched = RepositoryFile::new(self, repository, revision, file).fetch(progress)?;
        if !file.ends_with(".index.json") {
            return Ok(fetched);
        }
        let commit = fetched.commit.clone().unwrap_or_default();
        let folder = file.rsplit_once('/').map(|(folder, _)| folder);
        for part in parts(&fetched)? {
            let name = folder.map_or_else(|| part.clone(), |folder| format!("{folder}/{part}"));
            let part = RepositoryFile::new(self, repository, &commit, &name).fetch(progress)?;
            fetched.bytes += part.bytes;
            fetched.cached &= part.cached;
            fetched.parts.push(part.path);
        }
        Ok(fetched)
    }

    fn listed_files(&self, repository: &str, revision: &str) -> Result<Vec<String>, HubError> {
        let settings = &self.http.settings;
        let timeout = Duration::from_secs(settings.timeout_seconds);
        let asked = Asked::Hub {
            repository,
            revision,
            file: None,
        };
        let failed = |error: HFError| self.failed(&asked, repository, error);
        let client = reqwest::Client::builder()
            .connect_timeout(timeout)
            .read_timeout(timeout)
            .build()
            .map_err(|error| HubError::answer(repository, chain(&error)))?;
        let client = HFClientBuilder::new()
            .endpoint(&settings.endpoint)
            .token(settings.token.as_deref().unwrap_or(NO_TOKEN))
            .cache_dir(&settings.cache)
            .client(client)
            .retry_max_attempts(settings.attempts.saturating_sub(1))
            .retry_base_delay(Duration::from_millis(settings.pause_milliseconds))
            .build_sync()
            .map_err(failed)?;
        let (owner, name) = hf_hub::split_id(repository);
        let entries = client
            .model(owner, name)
            .list_tree()
            .revision(revision)
            .recursive(true)
            .send()
            .map_err(failed)?;
        let files = entries.into_iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { path, .. } => Some(path),
            _ => None,
        });
        Ok(files.collect())
    }

    fn failed(&self, asked: &Asked<'_>, what: &str, error: HFError) -> HubError {
        let attempts = self.http.settings.attempts;
        let (context, seconds) = match &error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context } => (Some(context), None),
            HFError::RateLimited {
                context,
                retry_after,
            } => (Some(context), retry_after.map(|wait| wait.as_secs())),
            HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => (context.as_ref(), None),
            _ => (None, None),
        };
        if let Some(context) = context {
            let code = context.error_code.as_deref().unwrap_or_default();
            let message = context.server_message.clone().unwrap_or_default();
            let status = context.status.as_u16();
            return self
                .http
                .refusal_of(what, asked, status, code, message, || (attempts, seconds));
        }
        match error {
            HFError::Request { source, .. } => HubError::Connection {
                what: what.to_string(),
                reason: chain(&source.without_url()),
                attempts,
                kept: "check the network and HF_ENDPOINT, then repeat the command".to_string(),
            },
            other => HubError::answer(what, other.to_string()),
        }
    }

    /// The names in the cached snapshot, sorted.
    fn cached_files(&self, repository: &str, revision: &str) -> Vec<String> {
        let cache = super::cache::RepositoryCache::new(&self.http.settings.cache, repository);
        let Some(commit) = cache.commit(revision) else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(cache.snapshot(&commit));
        let names = entries.into_iter().flatten().flatten();
        let mut names: Vec<_> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

/// The file that is meant by a repository's name alone.
fn choose(repository: &str, files: &[String]) -> Result<String, HubError> {
    if let Some(usual) = USUAL
        .iter()
        .find(|usual| files.iter().any(|file| file == *usual))
    {
        return Ok((*usual).to_string());
    }
    for ending in ENDINGS {
        let fits = |file: &&String| file.rsplit_once('.').is_some_and(|(_, e)| e == ending);
        let found: Vec<&String> = files.iter().filter(fits).collect();
        match found[..] {
            [] => {}
            [only] => return Ok(only.clone()),
            [..] => {
                let first: Vec<&str> = found.iter().take(5).map(|file| file.as_str()).collect();
                return Err(HubError::Choose {
                    repository: repository.to_string(),
                    reason: format!(
                        "{} .{ending} files: {}{}",
                        found.len(),
                        first.join(", "),
                        if found.len() > 5 { ", …" } else { "" }
                    ),
                });
            }
        }
    }
    Err(HubError::Choose {
        repository: repository.to_string(),
        reason: format!("no weights among its {} files", files.len()),
    })
}

/// The parts that an index file names, in order.
fn parts(index: &Fetched) -> Result<BTreeSet<String>, HubError> {
    let path = &index.path;
    let wrong = |reason: String| HubError::answer(path.display().to_string(), reason);
    if index.bytes > LARGEST_INDEX {
        return Err(wrong(format!(
            "{} bytes, expected at most {LARGEST_INDEX}",
            index.bytes
        )));
    }
    let bytes = std::fs::read(path).map_err(HubError::io(path))?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let Some(map) = value.get("weight_map").and_then(|map| map.as_object()) else {
        return Err(wrong("no weight_map in this index".to_string()));
    };
    let mut parts = BTreeSet::new();
    for (tensor, part) in map {
        match part.as_str() {
            Some(part) if is_inside(part) => parts.insert(part.to_string()),
            _ => {
                return Err(wrong(format!(
                    "tensor {tensor} lies in {part}, expected a file of the repository"
                )));
            }
        };
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_a_repository() {
        let choose = |files: &[&str]| {
            let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
            choose("a/b", &files)
        };
        let usual = choose(&["pytorch_model.bin", "README.md", "model.safetensors"]);
        assert_eq!(usual.unwrap(), "model.safetensors");
        assert_eq!(choose(&["x.pth", "README.md"]).unwrap(), "x.pth");
        let several = choose(&["x.pth", "y.pth"]).unwrap_err().to_string();
        assert!(several.contains("x.pth, y.pth") && several.contains("a/b/FILE"));
        assert!(choose(&["README.md"]).is_err());
    }
}
