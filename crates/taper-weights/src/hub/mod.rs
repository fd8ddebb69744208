//! Weights from the Hugging Face hub, from a plain address or from this machine, under one name.
//!
//! [`Hub::fetch`] takes what a person types ([`Source`]) and gives a path. Files of the hub lie in
//! the cache of the Hugging Face tools: what Python has fetched is found, and the reverse. Every
//! byte is verified before a file gets its name: large files by SHA-256, small ones by the SHA-1 of
//! their git blob, plain addresses by the digest given or by the eight digits in their name.
//!
//! Transfers are our own, over the HTTP client that `hf-hub` brings: `hf-hub` 1.0 neither resumes
//! nor verifies, and stores an error page under the file's name. Listing a repository is `hf-hub`'s.
//!
//! ```no_run
//! use taper_weights::hub::{Hub, HubSettings, Options};
//! let hub = Hub::new(HubSettings::from_environment())?;
//! let fetched = hub.fetch("timm/resnet18.a1_in1k", &Options::default(), &mut |_| {})?;
//! println!("{} of commit {:?}", fetched.path.display(), fetched.commit);
//! # Ok::<(), taper_weights::hub::HubError>(())
//! ```

mod address;
mod cache;
mod digest;
mod error;
mod http;
mod progress;
mod repository;
mod settings;
mod spec;
mod transfer;
mod weights_of;

pub use digest::Digest;
pub use error::HubError;
pub use progress::{Event, Progress};
pub use settings::HubSettings;
pub use spec::{HubFile, Source};

use std::path::{Path, PathBuf};
use taper_vision::registry::KnownWeights;

/// Fetches files, by one set of settings.
pub struct Hub {
    http: http::Http,
}

/// What a person may add to a name.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Branch, tag or commit of a repository; goes before the one in the name.
    pub revision: Option<String>,
    /// What the file must be.
    pub digest: Option<Digest>,
    /// Where to put a copy beside the cache's.
    pub local_dir: Option<PathBuf>,
}

/// A verified file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The file, or the index of a sharded checkpoint.
    pub path: PathBuf,
    /// The commit of the repository that was used.
    pub commit: Option<String>,
    /// What the file was verified by; `None` for a local file without a digest to check.
    pub digest: Option<Digest>,
    /// Bytes, those of the parts among them.
    pub bytes: u64,
    /// Whether nothing had to be fetched.
    pub cached: bool,
    /// The parts of a sharded checkpoint.
    pub parts: Vec<PathBuf>,
}

impl Fetched {
    fn of(
        path: PathBuf,
        commit: Option<String>,
        digest: Option<Digest>,
        cached: bool,
    ) -> Result<Self, HubError> {
        let bytes = std::fs::metadata(&path).map_err(HubError::io(&path))?.len();
        Ok(Self {
            path,
            commit,
            digest,
            bytes,
            cached,
            parts: Vec::new(),
        })
    }
}

impl Hub {
    /// # Errors
    /// [`HubError::Answer`] when the system's TLS cannot be set up.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        Ok(Self {
            http: http::Http::new(settings)?,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> &HubSettings {
        &self.http.settings
    }

    /// The file that `spec` means (see [`Source::parse`]), fetched where it is not on this machine.
    ///
    /// # Errors
    /// A [`HubError`] that says what to do.
    pub fn fetch(
        &self,
        spec: &str,
        options: &Options,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        let source = Source::parse(spec, &self.http.settings.endpoint)?;
        let mut fetched = match source {
            Source::Local(path) => Fetched::of(path, None, None, true)?,
            Source::Url(url) => self.fetch_url(&url, options.digest.as_ref(), progress)?,
            Source::Known(known) => {
                let digest = Digest::Sha256(known.sha256.to_string());
                self.fetch_url(&known.url(), Some(&digest), progress)?
            }
            Source::Hub(file) => self.fetch_hub(spec, &file, options, progress)?,
        };
        if let Some(digest) = &options.digest {
            check(&fetched, digest)?;
            fetched.digest = Some(digest.clone());
        }
        if let Some(folder) = &options.local_dir {
            copy_to(&mut fetched, folder)?;
        }
        Ok(fetched)
    }

    fn fetch_hub(
        &self,
        spec: &str,
        file: &HubFile,
        options: &Options,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        let revision = options.revision.as_deref().or(file.revision.as_deref());
        let revision = revision.unwrap_or("main");
        if !spec::is_inside(revision) {
            return Err(HubError::Specification {
                spec: spec.to_string(),
                reason: format!("{revision:?} is no revision"),
            });
        }
        match &file.file {
            Some(name) => self.file(&file.repository, revision, name, progress),
            None => self.weights(&file.repository, revision, progress),
        }
    }

    /// A file from a plain address, in a cache of its own.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_url(
        &self,
        url: &str,
        digest: Option<&Digest>,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        address::fetch(
            self,
            url,
            &address::cached_path(self, url),
            digest,
            progress,
        )
    }

    /// A file from a plain address to `path`; resumed, verified, and given its name at the end.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_url_to(
        &self,
        url: &str,
        path: &Path,
        digest: &Digest,
        progress: Progress<'_>,
    ) -> Result<Fetched, HubError> {
        address::fetch(self, url, path, Some(digest), progress)
    }

    /// Where the registry's file lies, if it has been fetched.
    pub fn cached(&self, known: &KnownWeights) -> Option<PathBuf> {
        let path = address::cached_path(self, &known.url());
        path.is_file().then_some(path)
    }
}

/// The path that `spec` means, fetched if need be, by the settings of the environment and without
/// a word of progress: what [`load`](crate::load) and the program's `--weights` go through.
///
/// # Errors
/// [`WeightsError::Hub`](crate::WeightsError::Hub); of a name that can only be a lost file
/// [`WeightsError::Read`](crate::WeightsError::Read).
pub fn resolve(spec: impl AsRef<Path>) -> Result<PathBuf, crate::WeightsError> {
    resolve_with(spec.as_ref(), &mut |_| {})
}

/// [`resolve`], telling its progress.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(spec: &Path, progress: Progress<'_>) -> Result<PathBuf, crate::WeightsError> {
    // What is on this machine needs no settings, and may have a name that is no text.
    let text = match spec.to_str() {
        Some(text) if !spec.exists() => text,
        _ => return Ok(spec.to_path_buf()),
    };
    let settings = HubSettings::from_environment();
    match Source::parse(text, &settings.endpoint) {
        Ok(Source::Local(path)) => Ok(path),
        Ok(_) => {
            let hub = Hub::new(settings)?;
            Ok(hub.fetch(text, &Options::default(), progress)?.path)
        }
        // The caller's own error of a missing file is the clearer one.
        Err(HubError::Specification { .. }) => Ok(spec.to_path_buf()),
        Err(error) => Err(error.into()),
    }
}

/// A digest that the caller demands, on top of the one that the source announced.
fn check(fetched: &Fetched, digest: &Digest) -> Result<(), HubError> {
    match digest.differs(&fetched.path)? {
        None => Ok(()),
        Some(found) => Err(HubError::Digest {
            what: fetched.path.display().to_string(),
            kind: digest.kind(),
            found,
            expected: digest.digits().to_string(),
            advice: "the source has another file than the one you ask for: check --revision and the digest".to_string(),
        }),
    }
}

/// Copies what was fetched into `folder`; never over another file.
fn copy_to(fetched: &mut Fetched, folder: &Path) -> Result<(), HubError> {
    std::fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    for part in &mut fetched.parts {
        *part = copy(part, folder)?;
    }
    fetched.path = copy(&fetched.path, folder)?;
    Ok(())
}

fn copy(from: &Path, folder: &Path) -> Result<PathBuf, HubError> {
    let to = folder.join(from.file_name().unwrap_or_default());
    let sha256 = Digest::Sha256(String::new());
    if to.exists() {
        let (there, here) = (sha256.measure(&to)?, sha256.measure(from)?);
        if there == here {
            return Ok(to);
        }
        return Err(HubError::Digest {
            what: to.display().to_string(),
            kind: sha256.kind(),
            found: there,
            expected: here,
            advice: "another file stands there: move it away, or name another --local-dir"
                .to_string(),
        });
    }
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::Builder::new()
        .prefix(".taper-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(HubError::io(folder))?;
    let mut source = std::fs::File::open(from).map_err(HubError::io(from))?;
    std::io::copy(&mut source, &mut file).map_err(HubError::io(&to))?;
    file.as_file().sync_all().map_err(HubError::io(&to))?;
    file.persist(&to)
        .map_err(|error| HubError::io(&to)(error.error))?;
    Ok(to)
}
