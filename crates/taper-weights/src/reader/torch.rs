//! PyTorch's ZIP archives, TorchScript, the stream of before 1.6, and bare pickles.

use super::archive::Archive;
use super::flatten::flatten;
use super::pickle::{Global, Graph, Parser, Value};
use super::resolve::{Lookup, Resolver, Stored, Typed, storage_dtype};
use super::source::Region;
use super::storage::Storage;
use super::{Container, Found, Limits};
use crate::WeightsError;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// First object of the stream: 0x1950a86a20f9469cfc6c.
const MAGIC_NUMBER: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const STREAM_VERSION: i64 = 1001;

/// A persistent id: ('storage', class, key, location, numel, view).
pub(crate) struct StorageId<'a> {
    pub(crate) class: &'a Global,
    pub(crate) key: String,
    /// Elements; bytes of an untyped storage.
    pub(crate) count: u64,
    /// Of the stream: key, offset and size of a part of the storage.
    pub(crate) part: Option<(u64, u64)>,
}

pub(crate) fn storage_id<'a>(graph: &'a Graph, id: &'a Value) -> Result<StorageId<'a>, String> {
    let damaged = || "has a damaged reference to its storage".to_string();
    let items = graph.items(id).ok_or_else(damaged)?;
    let [kind, Value::Global(class), key, location, count, rest @ ..] = items else {
        return Err(damaged());
    };
    if graph.text(kind).as_deref() != Some("storage") {
        return Err(damaged());
    }
    if graph.text(location).as_deref() == Some("meta") {
        return Err(
            "is on the meta device: it has no numbers; expected a dense tensor, or drop it".into(),
        );
    }
    let key = match key {
        Value::Int(number) => number.to_string(),
        other => graph.text(other).ok_or_else(damaged)?,
    };
    let count = graph
        .integer(count)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(damaged)?;
    let part = match rest.first().and_then(|view| graph.items(view)) {
        Some([_, offset, size]) => {
            let number = |value| graph.integer(value).and_then(|n| u64::try_from(n).ok());
            Some((
                number(offset).ok_or_else(damaged)?,
                number(size).ok_or_else(damaged)?,
            ))
        }
        _ => None,
    };
    Ok(StorageId {
        class,
        key,
        count,
        part,
    })
}

/// The archive's kind, or an error that lists what is in it.
pub(crate) fn read_zip(file: &Region, limits: &Limits) -> Result<(Container, Found), WeightsError> {
    let archive = Archive::open(file)?;
    let pickles: Vec<&str> = archive
        .names()
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|prefix| prefix.is_empty() || prefix.find('/') == Some(prefix.len() - 1))
        .collect();
    if let [prefix] = pickles[..] {
        return read_archive(&archive, prefix, limits);
    }
    let names = archive.names();
    if pickles.is_empty() && !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Ok((Container::Npz, super::npz::read(&archive, limits)?));
    }
    let listed: Vec<String> = names
        .iter()
        .take(4)
        .map(|name| format!("{name:?}"))
        .collect();
    Err(file.source.format(format!(
        "a ZIP archive of {} members ({}) that is no checkpoint: expected one FOLDER/data.pkl (PyTorch) or .npy members (NumPy)",
        names.len(),
        listed.join(", ")
    )))
}

fn read_archive(
    archive: &Archive,
    prefix: &str,
    limits: &Limits,
) -> Result<(Container, Found), WeightsError> {
    let big_endian = byte_order(archive, prefix, limits)?;
    let script = archive.has(&format!("{prefix}constants.pkl"));
    let pickle = archive.content(&format!("{prefix}data.pkl"), limits.pickle_bytes, limits)?;
    let mut parser = Parser::new(limits);
    parser.torch_script = script;
    let (graph, _) = parser.parse(&pickle, 0)?;
    let storages = RefCell::new(BTreeMap::<String, Arc<Storage>>::new());
    let lookup = |graph: &Graph, id: &Value| {
        let id = storage_id(graph, id)?;
        let dtype = storage_dtype(id.class)?;
        let member = format!("{prefix}data/{}", id.key);
        let mut storages = storages.borrow_mut();
        let storage = match storages.get(&member) {
            Some(storage) => storage.clone(),
            None => {
                let storage = archive.storage(&member, limits).ok_or_else(|| {
                    format!("has its numbers in {member:?}, which the archive lacks")
                })?;
                let storage = Arc::new(storage.with_byte_order(big_endian));
                storages.insert(member.clone(), storage.clone());
                storage
            }
        };
        let size = dtype.map_or(1, |dtype| dtype.size() as u64);
        if id
            .count
            .checked_mul(size)
            .is_none_or(|bytes| bytes > storage.length())
        {
            return Err(format!(
                "has a storage of {} elements, {member:?} has {} bytes",
                id.count,
                storage.length()
            ));
        }
        Ok(Stored::Storage(Typed {
            storage,
            dtype,
            offset: 0,
        }))
    };
    let mut found = finish(&graph, &lookup, archive.file(), limits)?;
    if script {
        let constants = archive
            .names()
            .iter()
            .filter(|name| name.starts_with(&format!("{prefix}constants/")))
            .count();
        if constants > 0 {
            found.notes.push(format!(
                "{constants} constants of the TorchScript code are left out: they are no parameters or buffers"
            ));
        }
        return Ok((Container::TorchScript, found));
    }
    Ok((Container::TorchZip, found))
}

fn byte_order(archive: &Archive, prefix: &str, limits: &Limits) -> Result<bool, WeightsError> {
    let name = format!("{prefix}byteorder");
    if !archive.has(&name) {
        return Ok(false);
    }
    let text = archive.content(&name, 64, limits)?.bytes()?;
    match text.trim_ascii() {
        b"little" => Ok(false),
        b"big" => Ok(true),
        other => Err(archive.file().source.format(format!(
            "byte order {:?}; expected little or big",
            String::from_utf8_lossy(other)
        ))),
    }
}

fn finish(
    graph: &Graph,
    lookup: &Lookup<'_>,
    file: &Region,
    limits: &Limits,
) -> Result<Found, WeightsError> {
    let resolver = Resolver {
        graph,
        lookup,
        source: &file.source,
    };
    let found = flatten(&resolver, &file.source, limits)?;
    if found.views.is_empty() && found.beside.is_empty() {
        return Err(file.source.format("holds no tensor"));
    }
    Ok(found)
}

/// A file that starts with a pickle: the stream of 0.1.10 to 1.5 or a bare pickle.
pub(crate) fn read_pickle(
    file: &Region,
    limits: &Limits,
) -> Result<(Container, Found), WeightsError> {
    let mut parser = Parser::new(limits);
    let (graph, end) = parser.parse(file, 0)?;
    if matches!(&graph.root, Value::Long(bytes) if **bytes == MAGIC_NUMBER) {
        return Ok((Container::TorchLegacy, read_stream(file, end, &mut parser)?));
    }
    if end != file.length {
        return Err(file.source.format(format!(
            "{} bytes follow the end of the pickle at position {end}; expected none",
            file.length - end
        )));
    }
    let lookup = |_: &Graph, _: &Value| {
        Err("refers to a storage outside of this pickle; expected a whole checkpoint".to_string())
    };
    Ok((Container::Pickle, finish(&graph, &lookup, file, limits)?))
}

/// Bytes of an element, also of types that are refused: what lies behind them must be found.
fn storage_size(class: &Global) -> Option<u64> {
    match class.name.as_str() {
        "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => Some(1),
        "QInt32Storage" => Some(4),
        _ => Some(
            storage_dtype(class)
                .ok()?
                .map_or(1, |dtype| dtype.size() as u64),
        ),
    }
}

fn read_stream(
    file: &Region,
    position: u64,
    parser: &mut Parser<'_>,
) -> Result<Found, WeightsError> {
    let format = |reason: String| file.source.format(reason);
    let (version, position) = parser.parse(file, position)?;
    if !matches!(version.root, Value::Int(STREAM_VERSION)) {
        return Err(format(format!(
            "PyTorch stream of version {:?}; expected {STREAM_VERSION}",
            version.root
        )));
    }
    // Sizes of the writer's types: the numbers are little-endian whatever it says.
    let (_, position) = parser.parse(file, position)?;
    let (graph, position) = parser.parse(file, position)?;
    let (keys, mut position) = parser.parse(file, position)?;
    let mut sizes = BTreeMap::new();
    for index in 0..graph.nodes.len() {
        if let super::pickle::Node::Persistent(id) = &graph.nodes[index]
            && let Ok(id) = storage_id(&graph, id)
            && let Some(size) = storage_size(id.class)
        {
            sizes.insert(id.key, size);
        }
    }
    let mut storages: BTreeMap<String, Arc<Storage>> = BTreeMap::new();
    let list = keys
        .items(&keys.root)
        .ok_or_else(|| format("PyTorch stream: no list of storages: damaged".into()))?;
    for key in list {
        let key = match key {
            Value::Int(number) => number.to_string(),
            other => keys
                .text(other)
                .ok_or_else(|| format("PyTorch stream: a storage without a key".into()))?,
        };
        let mut count = [0; 8];
        file.read_at(&mut count, position)?;
        let count = u64::from_le_bytes(count);
        let size = sizes.get(&key).copied().ok_or_else(|| {
            format(format!(
                "PyTorch stream: storage {key} is of no known type or used by no tensor"
            ))
        })?;
        let bytes = count.checked_mul(size);
        let region = bytes.and_then(|bytes| file.part(position + 8, bytes)).ok_or_else(|| {
            format(format!(
                "PyTorch stream: storage {key} of {count} elements at position {position} goes beyond the end of the file: truncated or damaged"
            ))
        })?;
        position += 8 + region.length;
        let storage = Arc::new(Storage::plain(format!("storage {key}"), region));
        if storages.insert(key.clone(), storage).is_some() {
            return Err(format(format!(
                "PyTorch stream: storage {key} is there twice"
            )));
        }
    }
    if position != file.length {
        return Err(format(format!(
            "PyTorch stream: {} bytes follow the last storage",
            file.length - position
        )));
    }
    let lookup = |graph: &Graph, id: &Value| {
        let id = storage_id(graph, id)?;
        let dtype = storage_dtype(id.class)?;
        let size = dtype.map_or(1, |dtype| dtype.size() as u64);
        let storage = storages.get(&id.key).ok_or_else(|| {
            format!(
                "has its numbers in storage {}, which the file lacks",
                id.key
            )
        })?;
        let (offset, count) = id.part.unwrap_or((0, id.count));
        let end = offset
            .checked_add(count)
            .and_then(|end| end.checked_mul(size));
        if end.is_none_or(|end| end > storage.length()) {
            return Err(format!("has a storage {} that is too small", id.key));
        }
        Ok(Stored::Storage(Typed {
            storage: storage.clone(),
            dtype,
            offset: offset * size,
        }))
    };
    finish(&graph, &lookup, file, parser.limits)
}
