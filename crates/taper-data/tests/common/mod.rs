//! Writers of tiny data sets in every format, and the place of the shared data.
#![allow(dead_code)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{GrayImage, ImageFormat, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use taper_data::ImageSet;

/// Bytes of a CIFAR image.
pub const PIXELS: usize = 3072;

/// The planes of a CIFAR-sized image that differs from those with another number.
pub fn planes(number: usize) -> Vec<u8> {
    let pixel = |i: usize| (i * (number + 3) + 11 * number + i / 1024 * 50) % 256;
    (0..PIXELS).map(|i| pixel(i) as u8).collect()
}

/// The shared data, if it is there: `TAPER_SHARED_DATA`, or `shared/data` beside the repository.
pub fn shared(set: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("TAPER_SHARED_DATA").map_or(beside, PathBuf::from);
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no {} (set TAPER_SHARED_DATA)", folder.display());
    None
}

pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A CIFAR binary file: label bytes and image number of each record.
pub fn binary(rows: &[(&[u8], usize)]) -> Vec<u8> {
    rows.iter()
        .flat_map(|(labels, number)| [labels.to_vec(), planes(*number)].concat())
        .collect()
}

/// A Python 2 pickle of a batch, as in the official archives.
pub fn python2(label_key: &str, rows: &[(u8, usize)]) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8][..], text.as_bytes()].concat();
    let mut bytes = b"\x80\x02}q\x01(".to_vec();
    bytes.extend(text("batch_label"));
    bytes.extend(text("training batch 1 of 5"));
    bytes.extend(text(label_key));
    bytes.extend(b"]q\x02(");
    for (label, _) in rows {
        bytes.extend([b'K', *label]);
    }
    bytes.push(b'e');
    bytes.extend(text("data"));
    bytes.extend(b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01");
    bytes.extend([b'K', rows.len() as u8, b'M', 0x00, 0x0c, 0x86]);
    bytes.extend(b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend(((rows.len() * PIXELS) as u32).to_le_bytes());
    for (_, number) in rows {
        bytes.extend(planes(*number));
    }
    bytes.extend(b"tb");
    bytes.extend(text("filenames"));
    bytes.extend(b"]q\x08U\x05a.pngau.");
    bytes
}

/// A `.tar.gz` of the given members.
pub fn tar_gz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// CIFAR image `number`, encoded.
pub fn encoded(number: usize, format: ImageFormat) -> Vec<u8> {
    let planes = planes(number);
    let image = RgbImage::from_fn(32, 32, |x, y| {
        let at = (y * 32 + x) as usize;
        image::Rgb([planes[at], planes[1024 + at], planes[2048 + at]])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A grey PNG of the given size and shade.
pub fn grey_png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let image = GrayImage::from_pixel(width, height, image::Luma([shade]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A Parquet file with the columns `img` {bytes, path} and the named label columns.
pub fn parquet(label_columns: &[&str], rows: &[(Vec<i64>, Vec<u8>)]) -> Vec<u8> {
    let labels: String = label_columns
        .iter()
        .map(|name| format!("optional int64 {name};"))
        .collect();
    let schema = format!(
        "message schema {{ optional group img {{ optional binary bytes; optional binary path (UTF8); }} {labels} }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes: Vec<ByteArray> = rows.iter().map(|(_, b)| b.clone().into()).collect();
    let (full, null) = (vec![2i16; rows.len()], vec![1i16; rows.len()]);
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<ByteArrayType>();
    typed.write_batch(&bytes, Some(&full), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<ByteArrayType>();
    typed.write_batch(&[], Some(&null), None).unwrap();
    column.close().unwrap();
    for index in 0..label_columns.len() {
        let values: Vec<i64> = rows.iter().map(|(labels, _)| labels[index]).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<Int64Type>();
        typed.write_batch(&values, Some(&null), None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// An IDX file of u8.
pub fn idx(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    for dimension in dimensions {
        bytes.extend(dimension.to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

/// Asserts that a set holds exactly these labels and CIFAR images.
pub fn assert_rows(set: &ImageSet, rows: &[(u32, usize)]) {
    let labels: Vec<u32> = rows.iter().map(|(label, _)| *label).collect();
    assert_eq!(set.labels(), labels);
    for (index, (_, number)) in rows.iter().enumerate() {
        let image = set.image(index).unwrap();
        assert_eq!((image.channels(), image.view().size()), (3, [32, 32]));
        assert!(image.pixels() == planes(*number), "pixels of image {index}");
    }
}
