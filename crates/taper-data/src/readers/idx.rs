//! IDX: the files of MNIST and Fashion-MNIST, plain or gzipped.
//!
//! Big-endian: two zero bytes, the type (8 = u8), the number of dimensions, each dimension as u32, the data.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::{Rows, check_label, read_verified};
use crate::error::{DataError, Result};

/// The most bytes that a gzipped file may unpack to (Fashion-MNIST's largest has 47,040,016).
const LARGEST_UNPACKED: u64 = 4 << 30;

/// Reads a file of images `[count, height, width]` and its labels `[count]`.
pub(crate) fn read(images: &Path, labels: &Path, classes: usize) -> Result<Rows> {
    let image_bytes = read_verified(images)?;
    let label_bytes = read_verified(labels)?;
    parse(
        &unpack(&image_bytes, images)?,
        images,
        &unpack(&label_bytes, labels)?,
        labels,
        classes,
    )
}

/// Unpacks gzip, whose checksum is verified; anything else is passed on as it is.
pub(crate) fn unpack<'a>(bytes: &'a [u8], path: &Path) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut unpacked = Vec::new();
    let mut limited = GzDecoder::new(bytes).take(LARGEST_UNPACKED + 1);
    limited.read_to_end(&mut unpacked).map_err(|e| {
        let found = format!("damaged gzip data after {} bytes: {e}", unpacked.len());
        DataError::format(path, found, "a whole gzip file")
    })?;
    if unpacked.len() as u64 > LARGEST_UNPACKED {
        let expected = format!("at most {LARGEST_UNPACKED} bytes unpacked");
        return Err(DataError::format(path, "more", expected));
    }
    Ok(Cow::Owned(unpacked))
}

/// Reads unpacked bytes; the paths name the files in errors.
pub(crate) fn parse(
    images: &[u8],
    images_path: &Path,
    labels: &[u8],
    labels_path: &Path,
    classes: usize,
) -> Result<Rows> {
    let (dimensions, pixels) = header::<3>(images, images_path)?;
    let ([label_count], label_values) = header::<1>(labels, labels_path)?;
    let [count, height, width] = dimensions;
    if label_count != count {
        return Err(DataError::format(
            labels_path,
            format!("{label_count} labels"),
            format!("{count}, as there are images in {}", images_path.display()),
        ));
    }
    if count == 0 || height == 0 || width == 0 {
        return Err(DataError::Empty {
            what: images_path.display().to_string(),
        });
    }
    let labels = label_values
        .iter()
        .enumerate()
        .map(|(row, &label)| check_label(labels_path, row, i64::from(label), classes))
        .collect::<Result<_>>()?;
    Ok(Rows {
        shape: [1, height, width],
        pixels: pixels.to_vec(),
        labels,
    })
}

/// The dimensions of a file of u8 with `N` of them, and its data.
fn header<'a, const N: usize>(bytes: &'a [u8], path: &Path) -> Result<([usize; N], &'a [u8])> {
    let start = 4 + 4 * N;
    let magic = [0, 0, 8, N as u8];
    if bytes.len() < start || bytes[..4] != magic {
        let shown = &bytes[..bytes.len().min(4)];
        return Err(DataError::format(
            path,
            format!("{} bytes, beginning {shown:02x?}", bytes.len()),
            format!("an IDX file of u8 with {N} dimensions, beginning {magic:02x?}"),
        ));
    }
    let dimensions: [usize; N] = std::array::from_fn(|i| {
        let at = 4 + 4 * i;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    });
    let length = dimensions
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .and_then(|n| n.checked_add(start));
    if length != Some(bytes.len()) {
        let expected = match length {
            Some(length) => format!("{length} for the dimensions {dimensions:?} in its header"),
            None => format!("dimensions that fit a file, not {dimensions:?}"),
        };
        return Err(DataError::format(
            path,
            format!("{} bytes", bytes.len()),
            expected,
        ));
    }
    Ok((dimensions, &bytes[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: [u8; 20] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4];
    const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 7, 0];

    fn parse_pair(images: &[u8], labels: &[u8]) -> Result<Rows> {
        parse(images, Path::new("images"), labels, Path::new("labels"), 10)
    }

    #[test]
    fn a_pair_is_read() {
        let rows = parse_pair(&IMAGES, &LABELS).unwrap();
        assert_eq!((rows.shape, rows.labels), ([1, 1, 2], vec![7, 0]));
        assert_eq!(rows.pixels, [1, 2, 3, 4]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for cut in 0..IMAGES.len() {
            assert!(parse_pair(&IMAGES[..cut], &LABELS).is_err(), "{cut}");
        }
        for cut in 0..LABELS.len() {
            assert!(parse_pair(&IMAGES, &LABELS[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn headers_counts_and_labels_are_checked() {
        let mut huge = IMAGES;
        huge[4..16].fill(0xff);
        let error = parse_pair(&huge, &LABELS).unwrap_err().to_string();
        assert!(error.contains("images: found 20 bytes"), "{error}");
        let swapped = parse_pair(&LABELS, &IMAGES).unwrap_err().to_string();
        assert!(swapped.contains("beginning [00, 00, 08, 03]"), "{swapped}");
        let one = [0, 0, 8, 1, 0, 0, 0, 1, 7];
        let error = parse_pair(&IMAGES, &one).unwrap_err().to_string();
        assert!(error.contains("found 1 labels, expected 2"), "{error}");
        let mut bad = LABELS;
        bad[9] = 10;
        let error = parse_pair(&IMAGES, &bad).unwrap_err().to_string();
        assert_eq!(error, "labels: row 1: label 10, expected 0..=9");
        let no_images = [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        let no_labels = [0, 0, 8, 1, 0, 0, 0, 0];
        assert!(matches!(
            parse_pair(&no_images, &no_labels),
            Err(DataError::Empty { .. })
        ));
    }
}
