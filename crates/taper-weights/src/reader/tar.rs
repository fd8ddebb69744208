//! What `torch.save` wrote before 0.1.10: a tar archive of `storages`, `tensors` and `pickle`.

use super::flatten::flatten;
use super::pickle::{Graph, Parser, Value};
use super::resolve::{Resolver, Stored, Typed, storage_dtype};
use super::source::Region;
use super::storage::Storage;
use super::view::View;
use super::{ElementType, Found, Limits, MAX_RANK};
use crate::WeightsError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Members of an archive, at most: it has three.
const MEMBERS: usize = 64;

/// Whether a block of 512 bytes is the header of a member.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<512>() else {
        return false;
    };
    if block[0] == 0 {
        return false;
    }
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(index, &byte)| {
            if (148..156).contains(&index) {
                32
            } else {
                byte.into()
            }
        })
        .sum();
    let text = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let text = text.trim_matches(|c: char| c == '\0' || c == ' ');
    u64::from_str_radix(text, 8) == Ok(sum)
}

pub(crate) fn read(file: &Region, limits: &Limits) -> Result<Found, WeightsError> {
    let format = |reason: String| file.source.format(reason);
    let members = members(file)?;
    let member = |name: &str| {
        members.get(name).cloned().ok_or_else(|| {
            format(format!(
                "a tar archive without `{name}`: truncated, or no checkpoint of PyTorch"
            ))
        })
    };
    let mut parser = Parser::new(limits);
    let storages = storages(&member("storages")?, &mut parser)?;
    let tensors = tensors(&member("tensors")?, &mut parser, &storages)?;
    let (graph, _) = parser.parse(&member("pickle")?, 0)?;
    let lookup = |graph: &Graph, id: &Value| {
        let key = key(graph, id).ok_or("has a damaged reference")?;
        match (tensors.get(&key), storages.get(&key)) {
            (Some(view), _) => Ok(Stored::Tensor(view.clone())),
            (None, Some(typed)) => Ok(Stored::Storage(typed.clone())),
            (None, None) => Err(format!("refers to {key}, which the archive lacks")),
        }
    };
    let resolver = Resolver {
        graph: &graph,
        lookup: &lookup,
        source: &file.source,
    };
    flatten(&resolver, &file.source, limits)
}

fn members(file: &Region) -> Result<BTreeMap<String, Region>, WeightsError> {
    let damaged = |error: std::io::Error| {
        file.source
            .format(format!("tar archive: {error}: truncated or damaged"))
    };
    let mut archive = tar::Archive::new(std::io::BufReader::new(file.cursor()));
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let name = entry
            .path()
            .map_err(damaged)?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_string();
        if !entry.header().entry_type().is_file() {
            return Err(file.source.format(format!(
                "tar archive: member {name:?} is no plain file; refused"
            )));
        }
        let region = file
            .part(entry.raw_file_position(), entry.size())
            .ok_or_else(|| {
                file.source
                    .format(format!("tar archive: member {name:?} is truncated"))
            })?;
        if members.len() >= MEMBERS || members.insert(name.clone(), region).is_some() {
            return Err(file.source.format(format!(
                "tar archive: member {name:?} is there twice or one of too many"
            )));
        }
    }
    Ok(members)
}

/// An address of the process that wrote the file.
fn key(graph: &Graph, value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => graph.text(other)?.trim().parse().ok(),
    }
}

type Storages = BTreeMap<i64, Typed>;

/// A number of storages, each a pickle and its numbers; then the views of storages.
fn storages(member: &Region, parser: &mut Parser<'_>) -> Result<Storages, WeightsError> {
    let damaged = |what: &str| {
        member
            .source
            .format(format!("tar archive: `storages`: {what}: damaged"))
    };
    let (count, mut position) = parser.parse(member, 0)?;
    let count = count
        .integer(&count.root)
        .ok_or_else(|| damaged("no count"))?;
    let mut storages = Storages::new();
    for _ in 0..count {
        let (graph, end) = parser.parse(member, position)?;
        let Some([address, _, Value::Global(class)]) = graph.items(&graph.root) else {
            return Err(damaged("a storage without address, location and type"));
        };
        let dtype = storage_dtype(class).map_err(|reason| damaged(&reason))?;
        let mut length = [0; 8];
        member.read_at(&mut length, end)?;
        let size = dtype.map_or(1, ElementType::size) as u64;
        let region = u64::from_le_bytes(length)
            .checked_mul(size)
            .and_then(|bytes| member.part(end + 8, bytes))
            .ok_or_else(|| damaged("a storage goes beyond the end: truncated"))?;
        position = end + 8 + region.length;
        let address = key(&graph, address).ok_or_else(|| damaged("a storage without address"))?;
        let storage = Arc::new(Storage::plain(format!("storage {address}"), region));
        if storages
            .insert(
                address,
                Typed {
                    storage,
                    dtype,
                    offset: 0,
                },
            )
            .is_some()
        {
            return Err(damaged("two storages have the same address"));
        }
    }
    let (graph, _) = parser.parse(member, position)?;
    for view in graph
        .items(&graph.root)
        .ok_or_else(|| damaged("no list of views"))?
    {
        let numbers: Option<Vec<i64>> = graph
            .items(view)
            .and_then(|items| items.iter().map(|item| key(&graph, item)).collect());
        let Some([target, root, offset, _]) = numbers.as_deref() else {
            return Err(damaged("a view without four numbers"));
        };
        let mut typed = storages
            .get(root)
            .cloned()
            .ok_or_else(|| damaged("a view of no storage"))?;
        let size = typed.dtype.map_or(1, ElementType::size) as u64;
        typed.offset = u64::try_from(*offset)
            .ok()
            .and_then(|offset| offset.checked_mul(size)?.checked_add(typed.offset))
            .ok_or_else(|| damaged("a view outside of its storage"))?;
        storages.insert(*target, typed);
    }
    Ok(storages)
}

/// A number of tensors, each a pickle, then rank, sizes, strides and offset as raw numbers.
fn tensors(
    member: &Region,
    parser: &mut Parser<'_>,
    storages: &Storages,
) -> Result<BTreeMap<i64, View>, WeightsError> {
    let damaged = |what: &str| {
        member
            .source
            .format(format!("tar archive: `tensors`: {what}: damaged"))
    };
    let (count, mut position) = parser.parse(member, 0)?;
    let count = count
        .integer(&count.root)
        .ok_or_else(|| damaged("no count"))?;
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let (graph, end) = parser.parse(member, position)?;
        let Some([address, storage, ..]) = graph.items(&graph.root) else {
            return Err(damaged("a tensor without address and storage"));
        };
        let address = key(&graph, address).ok_or_else(|| damaged("a tensor without address"))?;
        let storage = key(&graph, storage);
        let mut rank = [0; 4];
        member.read_at(&mut rank, end)?;
        let rank = u32::from_le_bytes(rank) as usize;
        if rank > MAX_RANK {
            return Err(damaged(&format!("a tensor of {rank} dimensions")));
        }
        let mut raw = vec![0; 8 * (2 * rank + 1)];
        member.read_at(&mut raw, end + 8)?;
        position = end + 8 + raw.len() as u64;
        let numbers: Option<Vec<u64>> = raw
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u64::try_from(i64::from_le_bytes(*bytes)).ok())
            .collect();
        let numbers = numbers.ok_or_else(|| damaged("a negative size, stride or offset"))?;
        // A tensor without a storage has no elements, and nothing to read.
        let Some(typed) = storage.and_then(|storage| storages.get(&storage)) else {
            return Err(damaged(&format!("tensor {address} views no storage")));
        };
        let dtype = typed.dtype.unwrap_or(ElementType::U8);
        let offset = numbers[2 * rank].checked_mul(dtype.size() as u64);
        let view = View {
            storage: typed.storage.clone(),
            offset: offset
                .and_then(|offset| offset.checked_add(typed.offset))
                .ok_or_else(|| damaged("an offset too large"))?,
            dtype,
            shape: numbers[..rank].iter().map(|&n| n as usize).collect(),
            strides: numbers[rank..2 * rank].to_vec(),
            conjugate: false,
            negative: false,
        };
        view.check()
            .map_err(|reason| damaged(&format!("tensor {address}: {reason}")))?;
        tensors.insert(address, view);
    }
    Ok(tensors)
}
