//! Parquet as on the Hugging Face hub: a struct column `img` or `image` of `bytes` and `path`, and
//! a column of labels. The bytes are an encoded image of any known kind, told by its first bytes.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use rayon::prelude::*;

use super::{Rows, check_label};
use crate::channels::adapt_channels;
use crate::checksum::verify_file;
use crate::decode::decode;
use crate::error::{DataError, Result};
use crate::planar_image::Image;

/// Columns that may hold the image, and the label: CIFAR-100 calls its 100 classes `fine_label`.
const IMAGE_COLUMNS: [&str; 2] = ["img", "image"];
const LABEL_COLUMNS: [&str; 2] = ["fine_label", "label"];

/// Reads one file whose images all have `shape` = `[channels, height, width]`.
pub(crate) fn read(path: &Path, shape: [usize; 3], classes: usize) -> Result<Rows> {
    verify_file(path)?;
    // The library checks what it reads, but not everywhere: a damaged page may still make it panic.
    let table = catch_unwind(AssertUnwindSafe(|| read_table(path)))
        .unwrap_or_else(|_| Err(damaged(path, "pages that cannot be decoded".into())))?;
    if table.is_empty() {
        return Err(DataError::Empty {
            what: path.display().to_string(),
        });
    }
    let labels = table
        .iter()
        .enumerate()
        .map(|(row, (_, label))| check_label(path, row, *label, classes))
        .collect::<Result<_>>()?;
    let images: Vec<Result<Image>> = table
        .par_iter()
        .enumerate()
        .map(|(row, (bytes, _))| image(path, row, bytes, shape))
        .collect();
    let mut pixels = Vec::with_capacity(table.len() * shape.iter().product::<usize>());
    for image in images {
        pixels.extend_from_slice(image?.pixels());
    }
    Ok(Rows {
        shape,
        pixels,
        labels,
    })
}

fn damaged(path: &Path, found: String) -> DataError {
    DataError::format(
        path,
        found,
        "a whole Parquet file (wrong or truncated file)",
    )
}

fn image(path: &Path, row: usize, bytes: &[u8], shape: [usize; 3]) -> Result<Image> {
    let location = format!("{}, row {row}", path.display());
    let decoded = decode(bytes, &location)?;
    let [height, width] = decoded.view().size();
    if [height, width] != shape[1..] {
        return Err(DataError::Image {
            location,
            message: format!(
                "found {height}x{width} pixels, expected {}x{}",
                shape[1], shape[2]
            ),
        });
    }
    match decoded.channels() == shape[0] {
        true => Ok(decoded),
        false => adapt_channels(decoded.view(), shape[0]),
    }
}

/// Encoded image and label of every row.
fn read_table(path: &Path) -> Result<Vec<(Vec<u8>, i64)>> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(|e| damaged(path, e.to_string()))?;
    check_offsets(path, reader.metadata())?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
    let find = |wanted: [&'static str; 2]| {
        let found = wanted.into_iter().find(|w| names.contains(w));
        found.ok_or_else(|| {
            let expected = format!("a column {}", wanted.join(" or "));
            DataError::format(path, format!("the columns {}", names.join(", ")), expected)
        })
    };
    let (image_column, label_column) = (find(IMAGE_COLUMNS)?, find(LABEL_COLUMNS)?);
    let rows = reader
        .get_row_iter(None)
        .map_err(|e| damaged(path, e.to_string()))?;
    let mut table = Vec::new();
    for (index, row) in rows.enumerate() {
        let row = row.map_err(|e| damaged(path, format!("row {index}: {e}")))?;
        table.push(cells(path, index, row, image_column, label_column)?);
    }
    let expected = reader.metadata().file_metadata().num_rows();
    if table.len() as i64 != expected {
        return Err(damaged(
            path,
            format!("{} rows where its footer says {expected}", table.len()),
        ));
    }
    Ok(table)
}

/// The library takes the positions of columns as they are, and panics at a negative one.
fn check_offsets(path: &Path, metadata: &ParquetMetaData) -> Result<()> {
    for column in metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
    {
        let start = column.dictionary_page_offset().unwrap_or(0);
        if start
            .min(column.data_page_offset())
            .min(column.compressed_size())
            < 0
        {
            return Err(damaged(path, "a column at a negative position".into()));
        }
    }
    Ok(())
}

fn cells(
    path: &Path,
    index: usize,
    row: Row,
    image_column: &str,
    label_column: &str,
) -> Result<(Vec<u8>, i64)> {
    let (mut bytes, mut label) = (None, None);
    for (name, field) in row.into_columns() {
        if name == image_column {
            bytes = encoded(field);
        } else if name == label_column {
            label = integer(&field);
        }
    }
    match (bytes, label) {
        (Some(bytes), Some(label)) => Ok((bytes, label)),
        (None, _) => Err(DataError::format(
            path,
            format!("row {index}: no bytes in column {image_column}"),
            "a struct with the bytes of an image",
        )),
        (_, None) => Err(DataError::format(
            path,
            format!("row {index}: no integer in column {label_column}"),
            "an integer",
        )),
    }
}

/// The bytes of an image column: a struct with a field `bytes`, or the bytes themselves.
fn encoded(field: Field) -> Option<Vec<u8>> {
    match field {
        Field::Bytes(bytes) => Some(bytes.data().to_vec()),
        Field::Group(group) => group
            .into_columns()
            .into_iter()
            .find(|(name, _)| name == "bytes")
            .and_then(|(_, field)| match field {
                Field::Bytes(bytes) => Some(bytes.data().to_vec()),
                _ => None,
            }),
        _ => None,
    }
}

fn integer(field: &Field) -> Option<i64> {
    match *field {
        Field::Byte(v) => Some(v.into()),
        Field::Short(v) => Some(v.into()),
        Field::Int(v) => Some(v.into()),
        Field::Long(v) => Some(v),
        Field::UByte(v) => Some(v.into()),
        Field::UShort(v) => Some(v.into()),
        Field::UInt(v) => Some(v.into()),
        Field::ULong(v) => i64::try_from(v).ok(),
        _ => None,
    }
}
