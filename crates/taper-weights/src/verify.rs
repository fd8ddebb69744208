//! Whether a file is what it should be: digest, structure, finite numbers, fit to a network.

use crate::{Limits, TensorFile, WeightsError, checksum};
use std::path::{Path, PathBuf};
use taper_vision::ModelEntry;

/// What to check beside structure and numbers.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The SHA-256 that the file must have.
    pub sha256: Option<String>,
    /// The network that it must fit.
    pub model: Option<&'static ModelEntry>,
    /// Its number of classes, where it matters.
    pub classes: Option<usize>,
    /// What an untrusted file may cost.
    pub limits: Limits,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// `sha256`, `name`, `structure`, `finite`, `fits`.
    pub check: &'static str,
    /// Whether it passed.
    pub ok: bool,
    /// What was found; of a failure also what would be right.
    pub details: Vec<String>,
}

/// All checks that could be made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    /// The file.
    pub file: PathBuf,
    /// Whether every check passed.
    pub ok: bool,
    /// Its digest.
    pub sha256: String,
    /// Of published weights that the zoo knows: the file's name there.
    pub known: Option<&'static str>,
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

/// Makes every check, also after one has failed.
///
/// # Errors
/// Only when the file cannot be read at all, or an option is no digest.
pub fn verify(
    path: impl AsRef<Path>,
    options: &VerifyOptions,
) -> Result<Verification, WeightsError> {
    let path = path.as_ref();
    let mut checks = Vec::new();
    let opened = match TensorFile::open(path, &options.limits) {
        Err(error @ WeightsError::Read { .. }) => return Err(error),
        opened => opened,
    };
    let file_path = match &opened {
        Ok(file) => file.path().to_path_buf(),
        Err(_) => path.to_path_buf(),
    };
    let sha256 = match file_path.is_file() {
        true => checksum::sha256(&file_path)?,
        false => String::new(),
    };
    digests(&file_path, &sha256, options, &mut checks)?;
    match opened {
        Err(error) => checks.push(failed("structure", vec![error.to_string()])),
        Ok(file) => {
            numbers(&file, &mut checks);
            if let Some(model) = options.model {
                checks.push(fits(&file, model, options.classes)?);
            }
        }
    }
    Ok(Verification {
        ok: checks.iter().all(|check| check.ok),
        known: known(&sha256),
        file: file_path,
        sha256,
        checks,
    })
}

fn passed(check: &'static str, detail: String) -> Check {
    Check {
        check,
        ok: true,
        details: vec![detail],
    }
}

fn failed(check: &'static str, details: Vec<String>) -> Check {
    Check {
        check,
        ok: false,
        details,
    }
}

fn digests(
    path: &Path,
    found: &str,
    options: &VerifyOptions,
    checks: &mut Vec<Check>,
) -> Result<(), WeightsError> {
    if let Some(wanted) = &options.sha256 {
        let wanted = wanted.trim().to_ascii_lowercase();
        if wanted.len() != 64 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WeightsError::Option {
                option: format!("--sha256 {wanted}"),
                reason: "a SHA-256 has 64 hexadecimal digits".into(),
            });
        }
        checks.push(match wanted == found {
            true => passed("sha256", found.to_string()),
            false => failed("sha256", vec![format!("{found}, expected {wanted}")]),
        });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(digits) = checksum::digits_in_name(&name) {
        checks.push(match found.starts_with(digits) {
            true => passed("name", format!("the SHA-256 starts with {digits}")),
            false => failed(
                "name",
                vec![format!(
                    "the SHA-256 is {found}, by its name it starts with {digits}"
                )],
            ),
        });
    }
    Ok(())
}

/// Reads every number of the file.
fn numbers(file: &TensorFile, checks: &mut Vec<Check>) {
    let (mut damaged, mut infinite, mut bytes) = (Vec::new(), Vec::new(), 0u64);
    for entry in file.entries() {
        bytes = bytes.saturating_add(entry.bytes());
        match file.statistics(entry) {
            Err(error) => damaged.push(format!("tensor {}: {error}", entry.name)),
            Ok(found) if !found.is_finite() => infinite.push(format!(
                "tensor {}: {} NaN, {} infinite of {}",
                entry.name, found.nan, found.inf, found.count
            )),
            Ok(_) => {}
        }
    }
    let count = file.entries().len();
    checks.push(match damaged.is_empty() {
        true => passed(
            "structure",
            format!("{}, {count} tensors of {bytes} bytes", file.container()),
        ),
        false => failed("structure", damaged),
    });
    checks.push(match infinite.is_empty() {
        true => passed("finite", "every number".to_string()),
        false => failed("finite", infinite),
    });
}

fn fits(
    file: &TensorFile,
    model: &'static ModelEntry,
    classes: Option<usize>,
) -> Result<Check, WeightsError> {
    let found = crate::classifier::fit_of(file, model, classes)?;
    let name = model.name;
    Ok(match found {
        Err(reason) => failed("fits", vec![reason]),
        Ok((found, classes)) if found.is_none() => passed(
            "fits",
            format!("{name} with {classes} classes, {} tensors", found.compared),
        ),
        Ok((found, _)) => {
            let mut details = Vec::new();
            let near = |nearest: &Option<String>| match nearest {
                Some(near) => format!(" (nearest: {near})"),
                None => String::new(),
            };
            for missing in &found.missing {
                let near = near(&missing.nearest);
                details.push(format!("tensor {}: missing{near}", missing.name));
            }
            for extra in &found.extra {
                let near = near(&extra.nearest);
                details.push(format!("tensor {}: {name} has none such{near}", extra.name));
            }
            for shape in &found.shapes {
                let (a, b) = (&shape.a, &shape.b);
                details.push(format!("tensor {}: {a:?}, expected {b:?}", shape.name));
            }
            for dtype in &found.dtypes {
                let (a, b) = (&dtype.a, &dtype.b);
                details.push(format!("tensor {}: {a}, expected {b}", dtype.name));
            }
            failed("fits", details)
        }
    })
}

/// The published file of that digest.
fn known(sha256: &str) -> Option<&'static str> {
    taper_vision::registry::MODELS
        .iter()
        .flat_map(|entry| entry.weights)
        .find(|known| known.sha256 == sha256)
        .map(|known| known.file)
}
