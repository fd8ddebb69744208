//! Piece by piece of the lines: each takes the parts of the frames that reach into it.

use super::Frames;
use crate::element::Element;
use crate::output::{Output, chunk_range, fill};
use crate::threads;
use crate::vector::{self, Pass};

/// Elements of a line that a task adds up.
const PIECE: usize = 4096;

/// Lines of frames to lines of elements.
pub(super) fn fold<T: Element>(frames: &[T], shape: &Frames) -> Vec<T> {
    let (count, size) = (shape.count(), shape.size);
    let lines = frames.len() / (count * size);
    let pieces = shape.length.div_ceil(PIECE);
    let output = Output::new(lines * shape.length);
    threads::for_each(lines * pieces, |task| {
        let (line, piece) = (
            task / pieces,
            chunk_range(shape.length, PIECE, task % pieces),
        );
        let start = line * shape.length;
        // SAFETY: pieces do not overlap.
        let to = unsafe { output.range(start + piece.start..start + piece.end) };
        let to = fill(to, T::from_f64(0.0));
        // The first frame that ends behind the piece's start, and the first that starts behind its end.
        let first = (piece.start + 1).saturating_sub(size).div_ceil(shape.step);
        let behind = piece.end.div_ceil(shape.step).min(count);
        for frame in first..behind {
            let begin = frame * shape.step;
            let (from, until) = (begin.max(piece.start), (begin + size).min(piece.end));
            let values = &frames[(line * count + frame) * size..][from - begin..until - begin];
            vector::run(Add {
                to: &mut to[from - piece.start..until - piece.start],
                values,
            });
        }
    });
    // SAFETY: every piece was filled.
    unsafe { output.finish() }
}

struct Add<'a, T> {
    to: &'a mut [T],
    values: &'a [T],
}

impl<T: Element> Pass for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (to, &value) in self.to.iter_mut().zip(self.values) {
            *to += value;
        }
    }
}
