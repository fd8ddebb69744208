//! The sums over all alignments (Graves et al. 2006, section 4.1), one sample a task.
//!
//! Between blanks b and labels l an alignment stands at one of b_0 l_0 b_1 l_1 … l_{L−1} b_L.
//! Blanks and labels lie in rows of their own, so that each loop does one thing: a blank is
//! reached from itself and the label before it; a label from itself, the blank before it
//! and, where the two differ, the label before it.

use super::Geometry;
use super::wide::{BLOCK, Wide, ZERO};
use crate::element::Element;
use crate::output::{Output, collect};
use crate::scratch::Scratch;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;
use std::ops::Range;

/// After so many frames mantissas are brought back to 1 … 2; until then each frame changes
/// them by a factor between 0.7 and 4.3.
const FRAMES_UNTIL_NORMALISED: usize = 32;

/// The loss of every sample and, where `weights` are given, the gradient of Σ weights · loss.
pub(super) fn forward<T: Element>(
    log_probs: &[T],
    geometry: &Geometry,
    weights: Option<&[f64]>,
) -> (Vec<f64>, Option<Vec<T>>) {
    let batch = geometry.input_lengths.len();
    let length = geometry.frames * batch * geometry.classes;
    let gradient = weights.map(|_| Output::filled(T::from_f64(0.0), length));
    let losses = collect(batch, |index| {
        let sample = Sample {
            log_probs,
            geometry,
            index,
            targets: geometry.targets_of(index),
            frames: geometry.input_lengths[index],
        };
        let into = gradient.as_ref().zip(weights.map(|weights| weights[index]));
        sample.run(into)
    });
    // SAFETY: it was filled with zeros.
    let gradient = gradient.map(|gradient| unsafe { gradient.finish() });
    (losses, gradient)
}

/// Every `[batch]` plane's rows times the factor of their sample; `[frames, batch, classes]`.
pub(super) fn scale_samples<T: Element>(values: &[T], factors: &[T], classes: usize) -> Vec<T> {
    let plane = factors.len() * classes;
    let frames = values.len().checked_div(plane).unwrap_or(0);
    let output = Output::new(values.len());
    crate::threads::for_each(frames, |frame| {
        for (sample, &factor) in factors.iter().enumerate() {
            let start = frame * plane + sample * classes;
            // SAFETY: each frame is one task's.
            let row = unsafe { output.range(start..start + classes) };
            for (row, &value) in row.iter_mut().zip(&values[start..start + classes]) {
                row.write(value * factor);
            }
        }
    });
    // SAFETY: the rows of all frames and samples are all there is.
    unsafe { output.finish() }
}

/// One sample's part of the operands.
struct Sample<'a, T> {
    log_probs: &'a [T],
    geometry: &'a Geometry,
    index: usize,
    targets: &'a [u32],
    frames: usize,
}

impl<T: Element> Sample<'_, T> {
    /// The loss; the gradient, times a weight, goes `into` the output.
    fn run(&self, into: Option<(&Output<T>, f64)>) -> f64 {
        let rows = Rows::new(self.targets.len());
        let kept = match into {
            Some(_) => self.frames,
            None => self.frames.min(2),
        };
        // Two floats make an f64.
        let mut scratch = Scratch::take(2 * (kept * rows.len() + rows.len() + 3 * rows.width));
        let (work, history) = doubles(&mut scratch).split_at_mut(rows.len() + 3 * rows.width);
        let (vectors, beta) = work.split_at_mut(3 * rows.width);
        let mut vectors = Vectors::new(vectors, rows.width, self.targets);
        let probability = self.alpha(&rows, history, &mut vectors);
        let loss = -probability.ln();
        let skipped = self.geometry.zero_infinity && loss == f64::INFINITY;
        match into {
            Some((output, weight)) if !skipped && loss.is_finite() => {
                self.beta(
                    &rows,
                    history,
                    beta,
                    &mut vectors,
                    probability,
                    (output, weight),
                );
            }
            Some((output, _)) if !skipped => {
                for frame in 0..self.frames {
                    // SAFETY: a sample is one task's, and its rows do not overlap.
                    let row = unsafe { output.range(self.row(frame)) };
                    // As PyTorch: there is no derivative, and it must not pass for one.
                    row.fill(MaybeUninit::new(T::from_f64(f64::NAN)));
                }
            }
            _ => {}
        }
        if skipped { 0.0 } else { loss }
    }

    /// Where this sample's row of a frame lies in the operand and in its gradient.
    fn row(&self, frame: usize) -> Range<usize> {
        let (classes, batch) = (self.geometry.classes, self.geometry.input_lengths.len());
        let start = (frame * batch + self.index) * classes;
        start..start + classes
    }

    /// Reads a frame: leaves the labels' log-probabilities, returns the blank's.
    fn read(&self, frame: usize, labels: &mut [f64]) -> f64 {
        let row = &self.log_probs[self.row(frame)];
        for (label, &class) in labels.iter_mut().zip(self.targets) {
            *label = row[class as usize].to_f64();
        }
        row[self.geometry.blank].to_f64()
    }

    /// Fills `history` (all frames, or the last two) with α, the probability of the frames
    /// so far with an alignment that ends at each place. Returns the probability of the target.
    fn alpha(&self, rows: &Rows, history: &mut [f64], vectors: &mut Vectors<'_>) -> Wide {
        if self.frames == 0 {
            return match self.targets {
                [] => Wide::ONE,
                _ => Wide::ZERO,
            };
        }
        let length = rows.len();
        let (mut at, kept) = (0, history.len() / length);
        let blank = Wide::exp(self.read(0, vectors.labels));
        let mut first = rows.split_mut(&mut history[..length]);
        first.clear();
        first.blanks.set(0, blank);
        if !self.targets.is_empty() {
            first.labels.set(1, Wide::exp(vectors.labels[0]));
        }
        for frame in 1..self.frames {
            let blank = self.read(frame, vectors.labels);
            let next = if at + 1 < kept { at + 1 } else { 0 };
            let (before, after) = two_rows(history, length, at, next);
            vector::run(Advance {
                cells: rows.cells,
                before: rows.split(before),
                after: rows.split_mut(after),
                blank,
                labels: vectors.labels,
                skips: vectors.skips,
                normalise: frame % FRAMES_UNTIL_NORMALISED == 0,
            });
            at = next;
        }
        let last = rows.split(&history[at * length..][..length]);
        let end = self.targets.len();
        last.blanks.get(end).plus(last.labels.get(end)).normalised()
    }

    /// From the last frame to the first: β, the probability of the frames from here on, and
    /// with it the share of all alignments that stand at each place, minus which is the gradient.
    fn beta(
        &self,
        rows: &Rows,
        history: &[f64],
        beta: &mut [f64],
        vectors: &mut Vectors<'_>,
        probability: Wide,
        (output, weight): (&Output<T>, f64),
    ) {
        let mut row = rows.split_mut(beta);
        row.clear();
        // Behind the last frame there is one way on, from the last blank.
        row.blanks.set(self.targets.len(), Wide::ONE);
        let classes = DistinctClasses::new(self.targets);
        let mut sums = vec![0.0; classes.classes.len()];
        for frame in (0..self.frames).rev() {
            let blank = self.read(frame, vectors.labels);
            let of_blank = vector::run(Retreat {
                cells: rows.cells,
                beta: rows.split_mut(beta),
                alpha: rows.split(&history[frame * rows.len()..][..rows.len()]),
                blank,
                labels: vectors.labels,
                skips: vectors.skips,
                shares: vectors.shares,
                probability,
                normalise: frame % FRAMES_UNTIL_NORMALISED == 0,
            });
            sums.fill(0.0);
            for (&slot, share) in classes.slots.iter().zip(vectors.shares.iter()) {
                sums[slot] += share;
            }
            // SAFETY: a sample is one task's, and its rows do not overlap.
            let row = unsafe { output.range(self.row(frame)) };
            row[self.geometry.blank].write(T::from_f64(-weight * of_blank));
            for (&class, sum) in classes.classes.iter().zip(&sums) {
                row[class as usize].write(T::from_f64(-weight * sum));
            }
        }
    }
}

/// The classes of a target, each once, and which of them each label is.
struct DistinctClasses {
    classes: Vec<u32>,
    slots: Vec<usize>,
}

impl DistinctClasses {
    fn new(targets: &[u32]) -> Self {
        let mut classes = targets.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let slot = |class| classes.partition_point(|&other| other < class);
        let slots = targets.iter().map(|&class| slot(class)).collect();
        Self { classes, slots }
    }
}

/// All of `scratch` as numbers of twice the width.
fn doubles(scratch: &mut Scratch) -> &mut [f64] {
    let length = scratch.len() / 2;
    // SAFETY: the buffer starts at a multiple of 64 bytes, holds that many, and any bits
    // are an f64.
    unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), length) }
}

/// Rows `at` (to be read) and `next` (to be written), which differ.
fn two_rows(rows: &mut [f64], length: usize, at: usize, next: usize) -> (&[f64], &mut [f64]) {
    let (low, high) = rows.split_at_mut(at.max(next) * length);
    let low = &mut low[at.min(next) * length..][..length];
    let high = &mut high[..length];
    if at < next { (low, high) } else { (high, low) }
}

/// Working vectors, as long as a row is wide.
struct Vectors<'a> {
    /// A frame's log-probabilities of the labels; −∞ behind the last.
    labels: &'a mut [f64],
    /// What must be added to the exponent on the way from the label before: nothing where the two
    /// differ, else [`ZERO`].
    skips: &'a mut [f64],
    /// The share of all alignments that stand at each label.
    shares: &'a mut [f64],
}

impl<'a> Vectors<'a> {
    fn new(memory: &'a mut [f64], width: usize, targets: &[u32]) -> Self {
        let (labels, rest) = memory.split_at_mut(width);
        let (skips, shares) = rest.split_at_mut(width);
        labels.fill(f64::NEG_INFINITY);
        skips.fill(ZERO);
        for (skip, pair) in skips.iter_mut().skip(1).zip(targets.windows(2)) {
            if pair[0] != pair[1] {
                *skip = 0.0;
            }
        }
        Self {
            labels,
            skips,
            shares,
        }
    }
}

/// How a frame's numbers lie in memory: blanks, then labels, mantissas before exponents.
struct Rows {
    /// Blanks, up to whole blocks.
    cells: usize,
    /// A block more, so that all may be read one place further on.
    width: usize,
}

impl Rows {
    fn new(labels: usize) -> Self {
        let cells = (labels + 1).next_multiple_of(BLOCK);
        Self {
            cells,
            width: cells + BLOCK,
        }
    }

    fn len(&self) -> usize {
        4 * self.width
    }

    fn split<'a>(&self, row: &'a [f64]) -> Row<Part<'a>> {
        let (blanks, labels) = row.split_at(2 * self.width);
        Row {
            blanks: Part(blanks.split_at(self.width)),
            labels: Part(labels.split_at(self.width)),
        }
    }

    fn split_mut<'a>(&self, row: &'a mut [f64]) -> Row<PartMut<'a>> {
        let (blanks, labels) = row.split_at_mut(2 * self.width);
        Row {
            blanks: PartMut(blanks.split_at_mut(self.width)),
            labels: PartMut(labels.split_at_mut(self.width)),
        }
    }
}

/// In α, label i lies at i + 1 behind a zero; in β, at i.
struct Row<P> {
    blanks: P,
    labels: P,
}

impl Row<PartMut<'_>> {
    fn clear(&mut self) {
        for part in [&mut self.blanks, &mut self.labels] {
            part.0.0.fill(Wide::ZERO.mantissa);
            part.0.1.fill(Wide::ZERO.exponent);
        }
    }
}

/// Mantissas and exponents.
struct Part<'a>((&'a [f64], &'a [f64]));
struct PartMut<'a>((&'a mut [f64], &'a mut [f64]));

type Block = [Wide; BLOCK];

impl Part<'_> {
    #[inline(always)]
    fn get(&self, at: usize) -> Wide {
        Wide {
            mantissa: self.0.0[at],
            exponent: self.0.1[at],
        }
    }

    #[inline(always)]
    fn block(&self, at: usize) -> Block {
        let (mantissas, exponents) = (&self.0.0[at..at + BLOCK], &self.0.1[at..at + BLOCK]);
        std::array::from_fn(|lane| Wide {
            mantissa: mantissas[lane],
            exponent: exponents[lane],
        })
    }
}

impl PartMut<'_> {
    #[inline(always)]
    fn read(&self) -> Part<'_> {
        Part((self.0.0, self.0.1))
    }

    #[inline(always)]
    fn set(&mut self, at: usize, value: Wide) {
        self.0.0[at] = value.mantissa;
        self.0.1[at] = value.exponent;
    }

    #[inline(always)]
    fn write(&mut self, at: usize, values: Block) {
        let (mantissas, exponents) = (&mut self.0.0[at..at + BLOCK], &mut self.0.1[at..at + BLOCK]);
        for lane in 0..BLOCK {
            mantissas[lane] = values[lane].mantissa;
            exponents[lane] = values[lane].exponent;
        }
    }
}

#[inline(always)]
fn numbers(values: &[f64], at: usize) -> [f64; BLOCK] {
    let values = &values[at..at + BLOCK];
    std::array::from_fn(|lane| values[lane])
}

#[inline(always)]
fn shifted(value: Wide, by: f64) -> Wide {
    Wide {
        exponent: value.exponent + by,
        ..value
    }
}

#[inline(always)]
fn normalised(values: Block, wanted: bool) -> Block {
    match wanted {
        true => values.map(Wide::normalised),
        false => values,
    }
}

/// α of a frame from α of the one before.
struct Advance<'a> {
    cells: usize,
    before: Row<Part<'a>>,
    after: Row<PartMut<'a>>,
    blank: f64,
    labels: &'a [f64],
    skips: &'a [f64],
    normalise: bool,
}

impl Pass for Advance<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            cells,
            before,
            mut after,
            blank,
            labels,
            skips,
            normalise,
        } = self;
        let blank = Wide::exp(blank);
        after.labels.set(0, Wide::ZERO);
        for at in (0..cells).step_by(BLOCK) {
            let (blanks, earlier) = (before.blanks.block(at), before.labels.block(at));
            let same = before.labels.block(at + 1);
            let (labels, skips) = (numbers(labels, at), numbers(skips, at));
            let mut of_blanks = [Wide::ZERO; BLOCK];
            let mut of_labels = [Wide::ZERO; BLOCK];
            for lane in 0..BLOCK {
                of_blanks[lane] = blanks[lane].plus(earlier[lane]).times(blank);
                let skipping = shifted(earlier[lane], skips[lane]);
                let ways = same[lane].plus_two(blanks[lane], skipping);
                of_labels[lane] = ways.times(Wide::exp(labels[lane]));
            }
            after.blanks.write(at, normalised(of_blanks, normalise));
            after.labels.write(at + 1, normalised(of_labels, normalise));
        }
    }
}

/// β of a frame from β of the next, in place. Writes the share of all alignments that stand
/// at each label, returns that of the blanks.
struct Retreat<'a> {
    cells: usize,
    beta: Row<PartMut<'a>>,
    alpha: Row<Part<'a>>,
    blank: f64,
    labels: &'a [f64],
    skips: &'a [f64],
    shares: &'a mut [f64],
    probability: Wide,
    normalise: bool,
}

impl Pass for Retreat<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self {
            cells,
            mut beta,
            alpha,
            blank,
            labels,
            skips,
            shares,
            probability,
            normalise,
        } = self;
        let blank = Wide::exp(blank);
        let whole = Wide {
            mantissa: 1.0 / probability.mantissa,
            exponent: -probability.exponent,
        };
        let mut blank_shares = [0.0; BLOCK];
        for at in (0..cells).step_by(BLOCK) {
            let (blanks, same) = (beta.blanks.read().block(at), beta.labels.read().block(at));
            let next_blanks = beta.blanks.read().block(at + 1);
            let next_labels = beta.labels.read().block(at + 1);
            let (alpha_blanks, alpha_labels) = (alpha.blanks.block(at), alpha.labels.block(at + 1));
            let (labels, skips) = (numbers(labels, at), numbers(skips, at + 1));
            let mut of_blanks = [Wide::ZERO; BLOCK];
            let mut of_labels = [Wide::ZERO; BLOCK];
            let mut label_shares = [0.0; BLOCK];
            for lane in 0..BLOCK {
                let ways = blanks[lane].plus(same[lane]);
                blank_shares[lane] += ways.times(alpha_blanks[lane]).times(whole).to_f64();
                of_blanks[lane] = ways.times(blank);
                let skipping = shifted(next_labels[lane], skips[lane]);
                let ways = same[lane].plus_two(next_blanks[lane], skipping);
                label_shares[lane] = ways.times(alpha_labels[lane]).times(whole).to_f64();
                of_labels[lane] = ways.times(Wide::exp(labels[lane]));
            }
            beta.blanks.write(at, normalised(of_blanks, normalise));
            beta.labels.write(at, normalised(of_labels, normalise));
            shares[at..at + BLOCK].copy_from_slice(&label_shares);
        }
        blank_shares.iter().sum()
    }
}
