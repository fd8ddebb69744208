//! Where the hub is, who asks, and where files are kept: the environment of the Hugging Face tools.

use std::path::PathBuf;

/// The address of the hub when `HF_ENDPOINT` is not set.
const ENDPOINT: &str = "https://huggingface.co";

/// Everything that a download depends on, so that nothing is read from the environment later.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// `HF_ENDPOINT`: the hub's address.
    pub endpoint: String,
    /// `HF_TOKEN`, or the file `HF_TOKEN_PATH`, or the file `token` in `HF_HOME`. Sent to the
    /// endpoint alone, never to where it redirects.
    pub token: Option<String>,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`: shared with the Python tools.
    pub cache: PathBuf,
    /// Where files from plain addresses are kept: `taper` in `HF_HOME`.
    pub url_cache: PathBuf,
    /// `HF_HUB_OFFLINE`: nothing but the cache.
    pub offline: bool,
    /// `HF_HUB_DISABLE_PROGRESS_BARS`.
    pub progress_bars: bool,
    /// How often a request is tried that fails for a passing reason.
    pub attempts: usize,
    /// The first pause between attempts in milliseconds; it doubles.
    pub pause_milliseconds: u64,
    /// A connection that is silent for so many seconds is given up.
    pub timeout_seconds: u64,
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("cache", &self.cache)
            .field("url_cache", &self.url_cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubSettings {
    /// As the environment of this process says.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As the variables say; an empty one counts as not set.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let yes = |name: &str| {
            get(name).is_some_and(|value| {
                let value = value.trim().to_ascii_uppercase();
                ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
            })
        };
        let expand = |path: String| match (path.strip_prefix("~/"), get("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(path),
        };
        let home = match (get("HF_HOME"), get("XDG_CACHE_HOME"), get("HOME")) {
            (Some(path), _, _) => expand(path),
            (None, Some(cache), _) => expand(cache).join("huggingface"),
            (None, None, Some(home)) => PathBuf::from(home).join(".cache/huggingface"),
            (None, None, None) => std::env::temp_dir().join("huggingface"),
        };
        let cache = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE"));
        let token_file = get("HF_TOKEN_PATH").map_or_else(|| home.join("token"), expand);
        let token = match yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            true => None,
            false => get("HF_TOKEN")
                .or_else(|| get("HUGGING_FACE_HUB_TOKEN"))
                .or_else(|| std::fs::read_to_string(token_file).ok())
                .map(|token| token.trim().to_string())
                .filter(|token| !token.is_empty()),
        };
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_string());
        let timeout = get("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.trim().parse().ok());
        Self {
            endpoint: endpoint.trim().trim_end_matches('/').to_string(),
            token,
            cache: cache.map_or_else(|| home.join("hub"), expand),
            url_cache: home.join("taper"),
            offline: yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
            progress_bars: !yes("HF_HUB_DISABLE_PROGRESS_BARS"),
            attempts: 5,
            pause_milliseconds: 500,
            timeout_seconds: timeout.unwrap_or(30).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_variables(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_variables_of_the_python_tools() {
        let plain = of(&[("HOME", "/h")]);
        assert_eq!(plain.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, ENDPOINT);
        assert!(plain.token.is_none() && !plain.offline && plain.progress_bars);
        let set = of(&[
            ("HF_HOME", "~/x"),
            ("HOME", "/h"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", " t \n"),
            ("HF_HUB_OFFLINE", "true"),
            ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ]);
        assert_eq!(set.cache, PathBuf::from("/h/x/hub"));
        assert_eq!(set.endpoint, "http://mirror");
        assert_eq!(set.token.as_deref(), Some("t"));
        assert!(set.offline && !set.progress_bars);
        assert!(!format!("{set:?}").contains("\"t\""));
        let other = of(&[("HF_HUB_CACHE", "/c"), ("HF_TOKEN", ""), ("HF_HOME", "/x")]);
        assert_eq!((other.cache, other.token), (PathBuf::from("/c"), None));
        let hidden = of(&[("HF_TOKEN", "t"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(hidden.token, None);
    }

    #[test]
    fn the_token_lies_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "secret\n").unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(of(&[("HF_HOME", home)]).token.as_deref(), Some("secret"));
        let file = folder.path().join("other");
        std::fs::write(&file, "second").unwrap();
        let given = of(&[("HF_TOKEN_PATH", file.to_str().unwrap())]);
        assert_eq!(given.token.as_deref(), Some("second"));
    }
}
