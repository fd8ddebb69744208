//! What a person means by a name of weights: a file, a repository, an address, an entry of the zoo.

use super::HubError;
use std::path::{Path, PathBuf};
use taper_vision::registry::{self, KnownWeights};

/// Endings by which a name without a file behind it is a lost file, not a repository.
const ENDINGS: [&str; 11] = [
    "safetensors",
    "pth",
    "pt",
    "th",
    "bin",
    "ckpt",
    "npz",
    "npy",
    "pkl",
    "tar",
    "json",
];

/// Where weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file or folder on this machine.
    Local(PathBuf),
    /// A plain address.
    Url(String),
    /// A repository of the hub, or a file of it.
    Hub(HubFile),
    /// A published file that the registry knows.
    Known(&'static KnownWeights),
}

/// A file of a repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: String,
    /// Path inside the repository; `None`: its weights, found by looking.
    pub file: Option<String>,
    /// Branch, tag or commit; `None`: `main`.
    pub revision: Option<String>,
}

impl Source {
    /// Reads `spec`: an existing path first, then an address (`https://…`), `hf://OWNER/NAME…`, a
    /// file that the registry knows, at last `OWNER/NAME[@REVISION][/FILE]`. `endpoint` is the hub's
    /// address, so that a link to one of its files is taken for that file.
    ///
    /// # Errors
    /// [`HubError::Specification`].
    pub fn parse(spec: &str, endpoint: &str) -> Result<Self, HubError> {
        let refuse = |reason: &str| HubError::Specification {
            spec: spec.to_string(),
            reason: reason.to_string(),
        };
        if spec.is_empty() {
            return Err(refuse("empty"));
        }
        if Path::new(spec).exists() {
            return Ok(Self::Local(PathBuf::from(spec)));
        }
        if spec.starts_with("https://") || spec.starts_with("http://") {
            let inside = spec
                .strip_prefix(endpoint)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(link);
            return Ok(inside.map_or_else(|| Self::Url(spec.to_string()), Self::Hub));
        }
        if let Some(rest) = spec.strip_prefix("hf://") {
            let known = repository(rest, true).map(Self::Hub);
            return known.ok_or_else(|| refuse("expected hf://OWNER/NAME[@REVISION][/FILE]"));
        }
        if let Some(known) = known(spec) {
            return Ok(Self::Known(known));
        }
        if is_lost_path(spec) {
            return Err(refuse("no such file"));
        }
        let found = repository(spec, false).map(Self::Hub);
        found.ok_or_else(|| refuse("no such file, and no name of a repository"))
    }
}

/// The registry's published file of that name.
fn known(name: &str) -> Option<&'static KnownWeights> {
    let entries = registry::list("*").into_iter();
    let mut files = entries.flat_map(|entry| entry.weights);
    files.find(|known| known.file == name)
}

/// Whether the name can only be meant as a path of this machine.
fn is_lost_path(spec: &str) -> bool {
    let first = spec.split('/').next().unwrap_or_default();
    let ending = spec.rsplit_once('.').map_or("", |(_, ending)| ending);
    let file = ENDINGS.contains(&ending.to_ascii_lowercase().as_str());
    spec.starts_with(['/', '~', '.'])
        || spec.ends_with('/')
        || spec.contains('\\')
        || !spec.contains('/')
        || (file && (spec.matches('/').count() == 1 || Path::new(first).is_dir()))
}

/// `OWNER/NAME[@REVISION][/FILE]`; with `short`, `NAME` alone as well.
fn repository(text: &str, short: bool) -> Option<HubFile> {
    let mut pieces = text.splitn(3, '/');
    let (owner, name) = (pieces.next()?, pieces.next());
    let (owner, name, file) = match name {
        Some(name) => (Some(owner), name, pieces.next()),
        None if short => (None, owner, None),
        None => return None,
    };
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision.to_string())),
        None => (name, None),
    };
    let id = owner.map_or_else(|| name.to_string(), |owner| format!("{owner}/{name}"));
    let file = file.map(str::to_string);
    let good = is_repository(&id)
        && file.as_deref().is_none_or(is_inside)
        && revision.as_deref().is_none_or(is_inside);
    good.then_some(HubFile {
        repository: id,
        file,
        revision,
    })
}

/// `OWNER/NAME/resolve|blob/REVISION/FILE`, the rest of a link to the hub.
fn link(text: &str) -> Option<HubFile> {
    let text = text.split(['?', '#']).next()?;
    let pieces: Vec<&str> = text.splitn(5, '/').collect();
    let [owner, name, "resolve" | "blob", revision, file] = pieces[..] else {
        return None;
    };
    let id = format!("{owner}/{name}");
    let plain = !file.contains('%') && !revision.contains('%');
    let good = plain && is_repository(&id) && is_inside(file) && is_inside(revision);
    good.then(|| HubFile {
        repository: id,
        file: Some(file.to_string()),
        revision: Some(revision.to_string()),
    })
}

/// Letters, digits, `-`, `_`, `.`, as the hub demands.
pub(super) fn is_repository(id: &str) -> bool {
    let good = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty()
            && part.len() <= 96
            && part.bytes().all(plain)
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && !part.contains("--")
    };
    id.split('/').count() <= 2 && id.split('/').all(good)
}

/// A relative path that stays below where it starts.
pub(super) fn is_inside(path: &str) -> bool {
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    let plain = |character: char| !character.is_control() && character != '\\';
    path.len() <= 1024 && path.split('/').all(good) && path.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> Result<Source, HubError> {
        Source::parse(spec, "https://huggingface.co")
    }

    fn hub(repository: &str, file: Option<&str>, revision: Option<&str>) -> Source {
        Source::Hub(HubFile {
            repository: repository.into(),
            file: file.map(Into::into),
            revision: revision.map(Into::into),
        })
    }

    #[test]
    fn what_is_meant() {
        let known = [
            (
                "timm/resnet18.a1_in1k",
                hub("timm/resnet18.a1_in1k", None, None),
            ),
            ("a/b/c/d.bin", hub("a/b", Some("c/d.bin"), None)),
            ("a/b@v1/d.bin", hub("a/b", Some("d.bin"), Some("v1"))),
            ("hf://gpt2", hub("gpt2", None, None)),
            (
                "https://huggingface.co/a/b/resolve/main/c/d.bin?download=true",
                hub("a/b", Some("c/d.bin"), Some("main")),
            ),
            (
                "https://x.org/w.pth",
                Source::Url("https://x.org/w.pth".into()),
            ),
        ];
        for (spec, source) in known {
            assert_eq!(parse(spec).unwrap(), source, "{spec}");
        }
        let file = parse("resnet20-12fca82f.th").unwrap();
        assert!(matches!(file, Source::Known(known) if known.classes == 10));
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(parse(here).unwrap(), Source::Local(here.into()));
    }

    #[test]
    fn lost_files_and_odd_names_are_refused() {
        for spec in [
            "",
            "w.safetensors",
            "runs/w.pth",
            "/no/such",
            "./a/b",
            "../a/b",
            "a/b/../c",
            "a/b//c",
            "a--b/c",
            "a/.b",
            "hf://",
            "hf://a/b/../../c",
            "a/b@../x/f",
            "src/hub/none.pth",
            "a/b/c\u{0}d",
            "a\\b/c",
        ] {
            assert!(parse(spec).is_err(), "{spec:?}");
        }
    }
}
