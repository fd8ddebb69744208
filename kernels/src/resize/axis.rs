//! Where each output coordinate reads along one axis, and which outputs each input coordinate feeds.
//!
//! Coordinates are computed in the tensor's own type of number, as PyTorch computes them: in f32
//! the last bit of a coordinate decides which element is the nearest.

use crate::element::Element;

/// The two input elements that each output blends, along one axis.
pub(super) struct Blend<T> {
    input: usize,
    low: Vec<u32>,
    high: Vec<u32>,
    weights: (Vec<T>, Vec<T>),
}

impl<T: Element> Blend<T> {
    /// `input` and `output` are at least 1.
    pub(super) fn new(input: usize, output: usize, align_corners: bool) -> Self {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        let mut weights = (Vec::new(), Vec::new());
        for index in 0..output {
            let (first, weight) = if input == output {
                (index, T::from_f64(0.0))
            } else {
                let source = source::<T>(index, input, output, align_corners);
                let first = (source.to_f64().floor() as usize).min(input - 1);
                let beyond = source - number::<T>(first);
                (first, T::from_f64(beyond.to_f64().clamp(0.0, 1.0)))
            };
            let second = match input == output {
                true => first,
                false => (first + 1).min(input - 1),
            };
            low.push(first as u32);
            high.push(second as u32);
            weights.0.push(T::from_f64(1.0) - weight);
            weights.1.push(weight);
        }
        Self {
            input,
            low,
            high,
            weights,
        }
    }

    /// The two input coordinates and weights of output `index`.
    pub(super) fn of(&self, index: usize) -> ([usize; 2], [T; 2]) {
        (
            [self.low[index] as usize, self.high[index] as usize],
            [self.weights.0[index], self.weights.1[index]],
        )
    }

    /// Blends a row of input elements into a row of output elements.
    #[inline(always)]
    pub(super) fn row(&self, row: &[T], line: &mut [T]) {
        assert!(row.len() == self.input && line.len() == self.low.len());
        for (index, value) in line.iter_mut().enumerate() {
            // SAFETY: `new` makes all four vectors as long as the line, with coordinates below `input`.
            unsafe {
                let low = *row.get_unchecked(*self.low.get_unchecked(index) as usize);
                let high = *row.get_unchecked(*self.high.get_unchecked(index) as usize);
                *value = low * *self.weights.0.get_unchecked(index)
                    + high * *self.weights.1.get_unchecked(index);
            }
        }
    }

    /// For each input coordinate the outputs that read it, with their weights.
    pub(super) fn readers(&self) -> Vec<Vec<(usize, T)>> {
        let mut readers = vec![Vec::new(); self.input];
        for index in 0..self.low.len() {
            let (sources, weights) = self.of(index);
            for (source, weight) in sources.into_iter().zip(weights) {
                readers[source].push((index, weight));
            }
        }
        readers
    }
}

/// The readers of each input column as layers: the n-th reader of every column in layer n.
pub(super) struct Layers<T> {
    input: usize,
    output: usize,
    /// Output coordinates, `[layer][input]`; the coordinate past the last stands for no reader.
    outputs: Vec<u32>,
    weights: Vec<T>,
}

impl<T: Element> Layers<T> {
    pub(super) fn new(axis: &Blend<T>) -> Self {
        let readers = axis.readers();
        let (input, output) = (axis.input, axis.low.len());
        let layers = readers.iter().map(Vec::len).max().unwrap_or(0);
        let none = (output, T::from_f64(0.0));
        let (mut outputs, mut weights) = (Vec::new(), Vec::new());
        for layer in 0..layers {
            for readers in &readers {
                let (index, weight) = readers.get(layer).copied().unwrap_or(none);
                outputs.push(index as u32);
                weights.push(weight);
            }
        }
        Self {
            input,
            output,
            outputs,
            weights,
        }
    }

    /// Gathers each input column's share of a row of gradients, which is followed by a zero.
    #[inline(always)]
    pub(super) fn row(&self, line: &[T], target: &mut [T]) {
        assert!(line.len() == self.output + 1 && target.len() == self.input);
        target.fill(T::from_f64(0.0));
        for (outputs, weights) in self
            .outputs
            .chunks_exact(self.input)
            .zip(self.weights.chunks_exact(self.input))
        {
            for ((value, &index), &weight) in target.iter_mut().zip(outputs).zip(weights) {
                // SAFETY: `new` makes coordinates of at most `output`, the last of the line.
                *value += unsafe { *line.get_unchecked(index as usize) } * weight;
            }
        }
    }
}

/// The one input element that each output copies, along one axis.
pub(super) struct Nearest {
    input: usize,
    sources: Vec<u32>,
    /// Outputs that read input i: `starts[i]..starts[i + 1]`.
    starts: Vec<u32>,
    /// How many outputs read each input, if that is the same for all.
    factor: Option<usize>,
}

impl Nearest {
    /// `input` and `output` are at least 1.
    pub(super) fn new<T: Element>(input: usize, output: usize) -> Self {
        let scale = scale::<T>(input, output, false);
        let source = |index: usize| {
            let source = (number::<T>(index) * scale).to_f64().floor() as usize;
            source.min(input - 1)
        };
        let sources: Vec<u32> = (0..output).map(|index| source(index) as u32).collect();
        let starts: Vec<u32> = (0..=input)
            .map(|input| sources.partition_point(|&source| (source as usize) < input) as u32)
            .collect();
        let factor = output / input;
        let even = starts
            .iter()
            .enumerate()
            .all(|(index, &start)| start as usize == index * factor);
        Self {
            input,
            sources,
            starts,
            factor: even.then_some(factor),
        }
    }

    /// The input coordinate of output `index`.
    pub(super) fn of(&self, index: usize) -> usize {
        self.sources[index] as usize
    }

    /// The outputs that read input `index`.
    pub(super) fn readers(&self, index: usize) -> std::ops::Range<usize> {
        self.starts[index] as usize..self.starts[index + 1] as usize
    }

    /// Copies a row of input elements into a row of output elements.
    #[inline(always)]
    pub(super) fn row<T: Element>(&self, row: &[T], line: &mut [T]) {
        assert!(row.len() == self.input && line.len() == self.sources.len());
        match self.factor {
            Some(1) => line.copy_from_slice(row),
            Some(2) => {
                let (pairs, _) = line.as_chunks_mut::<2>();
                for (pair, &value) in pairs.iter_mut().zip(row) {
                    *pair = [value; 2];
                }
            }
            _ => {
                for (value, &source) in line.iter_mut().zip(&self.sources) {
                    // SAFETY: `new` keeps coordinates below `input`.
                    *value = unsafe { *row.get_unchecked(source as usize) };
                }
            }
        }
    }

    /// Sums each input column's share of a row of gradients into a row of zeros.
    #[inline(always)]
    pub(super) fn sum_row<T: Element>(&self, line: &[T], target: &mut [T]) {
        assert!(line.len() == self.sources.len() && target.len() == self.input);
        match self.factor {
            Some(1) => target.copy_from_slice(line),
            Some(2) => {
                let (pairs, _) = line.as_chunks::<2>();
                for (value, &[first, second]) in target.iter_mut().zip(pairs) {
                    *value = first + second;
                }
            }
            _ if line.len() <= target.len() => {
                for (&gradient, &source) in line.iter().zip(&self.sources) {
                    // SAFETY: `new` keeps coordinates below `input`.
                    *unsafe { target.get_unchecked_mut(source as usize) } += gradient;
                }
            }
            _ => {
                for (index, value) in target.iter_mut().enumerate() {
                    for &gradient in &line[self.readers(index)] {
                        *value += gradient;
                    }
                }
            }
        }
    }
}

fn number<T: Element>(value: usize) -> T {
    T::from_f64(value as f64)
}

/// Input elements from one output to the next.
pub(super) fn scale<T: Element>(input: usize, output: usize, align_corners: bool) -> T {
    match (align_corners, output) {
        (true, 1) => T::from_f64(0.0),
        (true, _) => number::<T>(input - 1) / number::<T>(output - 1),
        (false, _) => number::<T>(input) / number::<T>(output),
    }
}

/// The input coordinate, with its fraction, of output `index`.
fn source<T: Element>(index: usize, input: usize, output: usize, align_corners: bool) -> T {
    let scale = scale::<T>(input, output, align_corners);
    if align_corners {
        return scale * number::<T>(index);
    }
    // Rounded once, as PyTorch's compiler has it: a multiply-add.
    T::from_f64(scale.to_f64().mul_add(index as f64 + 0.5, -0.5).max(0.0))
}
