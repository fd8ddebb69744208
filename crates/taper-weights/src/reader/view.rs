//! A tensor as a strided view of a storage, and its bytes in row-major order.

use super::ElementType;
use super::storage::{PIECE, Sink, Storage};
use crate::WeightsError;
use std::sync::Arc;

/// Bytes gathered at a time when a tensor is not contiguous.
const BLOCK: usize = 32 << 20;

/// Bytes of the file read at once.
const TILE: u64 = 1 << 20;

/// Elements further apart than this are read one by one rather than with all between them.
const NEAR: u64 = 4 << 10;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) storage: Arc<Storage>,
    /// Bytes from the start of the storage.
    pub(crate) offset: u64,
    pub(crate) dtype: ElementType,
    pub(crate) shape: Vec<usize>,
    /// In elements.
    pub(crate) strides: Vec<u64>,
    /// The imaginary parts are to be negated.
    pub(crate) conjugate: bool,
    /// All parts are to be negated.
    pub(crate) negative: bool,
}

/// Row-major strides of `shape`, `None` when the element count overflows.
pub(crate) fn row_major(shape: &[usize]) -> Option<Vec<u64>> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1u64;
    for (stride, &extent) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.checked_mul(extent.max(1) as u64)?;
    }
    Some(strides)
}

/// Bytes of a tensor, `None` when they overflow.
pub(crate) fn byte_count(shape: &[usize], dtype: ElementType) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(dtype.size() as u64, |product, &extent| {
            product.checked_mul(extent as u64)
        })
}

impl View {
    /// A contiguous tensor.
    ///
    /// # Errors
    /// As [`View::check`]; the reason alone.
    pub(crate) fn contiguous(
        storage: Arc<Storage>,
        offset: u64,
        dtype: ElementType,
        shape: Vec<usize>,
    ) -> Result<Self, String> {
        let strides = row_major(&shape).ok_or_else(|| overflow(&shape))?;
        let view = Self {
            storage,
            offset,
            dtype,
            shape,
            strides,
            conjugate: false,
            negative: false,
        };
        view.check()?;
        Ok(view)
    }

    /// Says what is wrong when the view leaves its storage.
    pub(crate) fn check(&self) -> Result<(), String> {
        let shape = &self.shape;
        if byte_count(shape, self.dtype).is_none_or(|bytes| bytes > i64::MAX as u64) {
            return Err(overflow(shape));
        }
        if shape.contains(&0) {
            return Ok(());
        }
        let end = self
            .extent()
            .and_then(|bytes| bytes.checked_add(self.offset));
        match end {
            Some(end) if end <= self.storage.length() => Ok(()),
            _ => Err(format!(
                "shape {shape:?} with strides {:?} from byte {} lies outside of its storage {} of {} bytes",
                self.strides,
                self.offset,
                self.storage.name,
                self.storage.length()
            )),
        }
    }

    /// Bytes from the first element to the end of the furthest.
    fn extent(&self) -> Option<u64> {
        let size = self.dtype.size() as u64;
        let mut last = 0u64;
        for (&extent, &stride) in self.shape.iter().zip(&self.strides) {
            let reach = (extent as u64).checked_sub(1)?.checked_mul(stride)?;
            last = last.checked_add(reach)?;
        }
        last.checked_add(1)?.checked_mul(size)
    }

    pub(crate) fn bytes(&self) -> u64 {
        byte_count(&self.shape, self.dtype).unwrap_or(u64::MAX)
    }

    fn is_contiguous(&self) -> bool {
        let Some(expected) = row_major(&self.shape) else {
            return false;
        };
        self.shape
            .iter()
            .zip(expected.iter().zip(&self.strides))
            .all(|(&extent, (expected, stride))| extent == 1 || expected == stride)
    }

    /// Row-major little-endian bytes, in bounded pieces that hold whole elements.
    pub(crate) fn read_into(&self, sink: &mut Sink<'_>) -> Result<(), WeightsError> {
        if self.bytes() == 0 {
            return Ok(());
        }
        if !self.is_contiguous() {
            return self.gather(sink);
        }
        if !self.needs_change() && !self.storage.is_compressed() {
            return self.storage.stream(self.offset, self.bytes(), sink);
        }
        // Decompressed pieces end anywhere: an element is kept until its last byte is there.
        let size = self.dtype.size();
        let mut held = Vec::with_capacity(PIECE + size);
        self.storage
            .stream(self.offset, self.bytes(), &mut |piece| {
                held.extend_from_slice(piece);
                let whole = held.len() - held.len() % size;
                self.change(&mut held[..whole]);
                sink(&held[..whole])?;
                held.drain(..whole);
                Ok(())
            })
    }

    fn needs_change(&self) -> bool {
        (self.storage.big_endian && self.dtype.word() > 1) || self.conjugate || self.negative
    }

    /// Byte order and sign of whole elements.
    fn change(&self, bytes: &mut [u8]) {
        let word = self.dtype.word();
        if self.storage.big_endian && word > 1 {
            bytes.chunks_exact_mut(word).for_each(<[u8]>::reverse);
        }
        if !self.conjugate && !self.negative {
            return;
        }
        let parts = self.dtype.size() / word;
        for (index, number) in bytes.chunks_exact_mut(word).enumerate() {
            let imaginary = parts == 2 && index % 2 == 1;
            if self.negative != (self.conjugate && imaginary) {
                number[word - 1] ^= 0x80;
            }
        }
    }

    /// Emits the tensor in blocks of leading rows; each is read in the order of the file.
    fn gather(&self, sink: &mut Sink<'_>) -> Result<(), WeightsError> {
        let region = self.storage.random_access()?;
        let mut read = |buffer: &mut [u8], at: u64| region.read_at(buffer, at);
        self.gather_blocks(&self.shape, &self.strides, self.offset, &mut read, sink)
    }

    fn gather_blocks(
        &self,
        shape: &[usize],
        strides: &[u64],
        offset: u64,
        read: &mut Reader<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), WeightsError> {
        let size = self.dtype.size() as u64;
        let total = byte_count(shape, self.dtype).unwrap_or(u64::MAX);
        let (Some(&rows), Some(&stride)) = (shape.first(), strides.first()) else {
            return self.gather_block(shape, strides, offset, read, sink);
        };
        if total <= BLOCK as u64 {
            return self.gather_block(shape, strides, offset, read, sink);
        }
        let row_bytes = total / rows as u64;
        let at_once = (BLOCK as u64 / row_bytes) as usize;
        for row in (0..rows).step_by(at_once.max(1)) {
            let start = offset + row as u64 * stride * size;
            if at_once == 0 {
                self.gather_blocks(&shape[1..], &strides[1..], start, read, sink)?;
            } else {
                let mut block = shape.to_vec();
                block[0] = at_once.min(rows - row);
                self.gather_block(&block, strides, start, read, sink)?;
            }
        }
        Ok(())
    }

    /// One block in memory: read along falling strides, stored in row-major order.
    fn gather_block(
        &self,
        shape: &[usize],
        strides: &[u64],
        offset: u64,
        read: &mut Reader<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), WeightsError> {
        let bytes = byte_count(shape, self.dtype).unwrap_or(0) as usize;
        let targets = row_major(shape).unwrap_or_default();
        let mut axes: Vec<Axis> = shape
            .iter()
            .zip(strides.iter().zip(&targets))
            .filter(|(extent, _)| **extent > 1)
            .map(|(&extent, (&stride, &target))| Axis {
                extent,
                stride,
                target: target as usize,
            })
            .collect();
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.stride));
        let mut block = Block {
            size: self.dtype.size(),
            target: vec![0; bytes],
            scratch: Vec::new(),
        };
        block.fill(&axes, offset, 0, read)?;
        self.change(&mut block.target);
        block.target.chunks(PIECE).try_for_each(sink)
    }
}

fn overflow(shape: &[usize]) -> String {
    format!("shape {shape:?} has more bytes than fit in 63 bits")
}

type Reader<'a> = dyn FnMut(&mut [u8], u64) -> Result<(), WeightsError> + 'a;

#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    /// Elements in the file.
    stride: u64,
    /// Elements in the block.
    target: usize,
}

/// Bytes from the first element of `axes` to the end of the last.
fn span(axes: &[Axis], size: u64) -> u64 {
    let reach: u64 = axes
        .iter()
        .map(|axis| (axis.extent as u64 - 1) * axis.stride)
        .sum();
    (reach + 1) * size
}

struct Block {
    size: usize,
    target: Vec<u8>,
    scratch: Vec<u8>,
}

impl Block {
    /// Reads the elements of `axes` that start at byte `from` of the file to element `to`.
    fn fill(
        &mut self,
        axes: &[Axis],
        from: u64,
        to: usize,
        read: &mut Reader<'_>,
    ) -> Result<(), WeightsError> {
        let size = self.size as u64;
        let span = span(axes, size);
        let dense = axes.len() == 1 && axes[0].stride == 1;
        let Some((axis, inner)) = axes.split_first().filter(|_| span > TILE && !dense) else {
            return self.tile(axes, span, from, to, read);
        };
        let step = axis.stride * size;
        let inner_span = self::span(inner, size);
        // What lies between near elements is read along with them.
        let near = inner_span <= TILE && step <= NEAR.max(4 * inner_span);
        let at_once = if near {
            ((TILE - inner_span) / step.max(1)) as usize + 1
        } else {
            1
        };
        for index in (0..axis.extent).step_by(at_once) {
            let from = from + index as u64 * step;
            let to = to + index * axis.target;
            if near {
                let mut part = axes.to_vec();
                part[0].extent = at_once.min(axis.extent - index);
                let span = self::span(&part, size);
                self.tile(&part, span, from, to, read)?;
            } else {
                self.fill(inner, from, to, read)?;
            }
        }
        Ok(())
    }

    /// Reads `span` bytes at once and takes the elements out of them.
    fn tile(
        &mut self,
        axes: &[Axis],
        span: u64,
        from: u64,
        to: usize,
        read: &mut Reader<'_>,
    ) -> Result<(), WeightsError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(span as usize, 0);
        read(&mut scratch, from)?;
        self.scatter(axes, &scratch, 0, to);
        self.scratch = scratch;
        Ok(())
    }

    fn scatter(&mut self, axes: &[Axis], scratch: &[u8], from: usize, to: usize) {
        let size = self.size;
        let Some((axis, inner)) = axes.split_first() else {
            self.target[to * size..][..size].copy_from_slice(&scratch[from * size..][..size]);
            return;
        };
        if inner.is_empty() && axis.stride == 1 && axis.target == 1 {
            let count = axis.extent * size;
            self.target[to * size..][..count].copy_from_slice(&scratch[from * size..][..count]);
            return;
        }
        for index in 0..axis.extent {
            let from = from + index * axis.stride as usize;
            self.scatter(inner, scratch, from, to + index * axis.target);
        }
    }
}
