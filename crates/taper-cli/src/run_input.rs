//! What `taper run` reads for a classifier: a tensor in any file of arrays, or images.

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};
use taper::data::{adapt_channels, decode, resize};
use taper::vision::ModelEntry;
use taper::weights::{Container, InputNormalisation, Limits, TensorEntry, TensorFile};

/// The tensor that a classifier reads.
pub const INPUT: &str = "input";
/// Bytes of a file that tell its kind.
const HEAD: usize = 16;
/// Endings of images in a folder.
const IMAGES: &[&str] = &["png", "jpg", "jpeg", "webp"];

/// The input of a network, and what was done to make it.
pub struct RunInput {
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor,
    /// Sentences for the user; empty when the file held the tensor as it is read.
    pub prepared: Vec<String>,
}

/// Reads `path` for the network of `entry`: `input` of a tensor file, a lone array, an image, or
/// every image of a folder in the order of their names.
pub fn read(
    path: &Path,
    entry: &ModelEntry,
    normalisation: &InputNormalisation,
) -> anyhow::Result<RunInput> {
    let context = || format!("--input {}", path.display());
    if path.is_dir() {
        return images(&in_folder(path)?, entry, normalisation).with_context(context);
    }
    match kind(path).with_context(context)? {
        Kind::Image => images(&[path.to_path_buf()], entry, normalisation).with_context(context),
        Kind::Sound => anyhow::bail!(
            "--input {}: a sound file; {} classifies images: expected .png, .jpg, .webp, .npy, .npz or .safetensors",
            path.display(),
            entry.name
        ),
        Kind::Tensors => Ok(RunInput {
            images: tensor(path, entry)?,
            prepared: Vec::new(),
        }),
    }
}

enum Kind {
    Image,
    Sound,
    Tensors,
}

/// By the first bytes, never by the name.
fn kind(path: &Path) -> anyhow::Result<Kind> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(path)?
        .take(HEAD as u64)
        .read_to_end(&mut head)?;
    let riff = |form: &[u8]| head.starts_with(b"RIFF") && head.get(8..12) == Some(form);
    Ok(match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Kind::Image,
        _ if riff(b"WEBP") => Kind::Image,
        _ if riff(b"WAVE") || head.starts_with(b"fLaC") || head.starts_with(b"OggS") => Kind::Sound,
        _ => Kind::Tensors,
    })
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if IMAGES.contains(&ending.to_lowercase().as_str()) {
            found.push(path);
        }
    }
    found.sort();
    anyhow::ensure!(
        !found.is_empty(),
        "--input {}: a folder without images; expected .png, .jpg or .webp files",
        folder.display()
    );
    Ok(found)
}

/// Decodes, resizes to the network's input and normalises.
fn images(
    paths: &[PathBuf],
    entry: &ModelEntry,
    normalisation: &InputNormalisation,
) -> anyhow::Result<RunInput> {
    let [channels, height, width] = entry.input;
    let InputNormalisation { mean, std } = normalisation;
    anyhow::ensure!(
        mean.len() == channels && std.len() == channels,
        "the weights normalise {} channels, {} reads {channels}",
        mean.len(),
        entry.name
    );
    let mut values = Vec::with_capacity(paths.len() * channels * height * width);
    let mut prepared = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let image = decode(&bytes, &path.display().to_string())?;
        let mut what = format!(
            "{}: {}x{} {}",
            path.display(),
            image.width(),
            image.height(),
            if image.channels() == 1 { "grey" } else { "RGB" }
        );
        let image = adapt_channels(image.view(), channels)?;
        let image = match image.view().size() == [height, width] {
            true => image,
            false => {
                what += &format!(", resized to {width}x{height} (bilinear)");
                resize(image.view(), [height, width])?
            }
        };
        prepared.push(what);
        for ((plane, mean), std) in image.view().planes().zip(mean).zip(std) {
            values.extend(
                plane
                    .iter()
                    .map(|&pixel| (f32::from(pixel) / 255.0 - mean) / std),
            );
        }
    }
    prepared.push(format!(
        "normalised with mean {mean:?} and deviation {std:?}"
    ));
    let shape = (paths.len(), channels, height, width);
    Ok(RunInput {
        images: Tensor::from_vec(values, shape, &Device::Cpu)?,
        prepared,
    })
}

fn tensor(path: &Path, entry: &ModelEntry) -> anyhow::Result<Tensor> {
    let file = TensorFile::open(path, &Limits::default())
        .with_context(|| format!("--input {}", path.display()))?;
    let found = wanted(&file, path)?;
    let [channels, ..] = entry.input;
    let shape = &found.shape;
    let fits = shape.len() == 4 && shape[0] > 0 && shape[1] == channels;
    anyhow::ensure!(
        fits,
        "--input {}: `{}` is {shape:?}; {} reads [batch, {channels}, height, width] with at least one image",
        path.display(),
        found.name,
        entry.name
    );
    anyhow::ensure!(
        found.dtype.is_float() && !found.dtype.is_complex(),
        "--input {}: `{}` holds {} numbers; expected F32, already normalised (images are taken as .png, .jpg, .webp)",
        path.display(),
        found.name,
        found.dtype
    );
    Ok(file.read_tensor(found)?.to_dtype(DType::F32)?)
}

/// `input`, or the only array of a NumPy file.
fn wanted<'a>(file: &'a TensorFile, path: &Path) -> anyhow::Result<&'a TensorEntry> {
    if let Some(entry) = file.entry(INPUT) {
        return Ok(entry);
    }
    let numpy = matches!(file.container(), Container::Npy | Container::Npz);
    if let ([only], true) = (file.entries(), numpy) {
        return Ok(only);
    }
    let found: Vec<&str> = file
        .entries()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    anyhow::bail!(
        "--input {}: no tensor `{INPUT}`; found {}",
        path.display(),
        match found[..] {
            [] => "none".to_string(),
            _ => found.join(", "),
        }
    )
}
