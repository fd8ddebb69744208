//! The backward pass of a run: values in reverse, gradients settled when their last part arrives.

use super::View;
use super::blocks::{Blocks, PlaneKernel, Target, for_each_plane};
use super::form::{Form, Lanes, WithLanes};
use super::forward::{Values, to_planes, turn_in};
use super::graph::{Convolution, Graph, NormNode};
use super::norm::{GradientAffine, PartialSums};
use super::sink::{GradientSink, Settle, Sign};
use super::weights::{pad, unpad};
use crate::conv2d::pixel_major;
use crate::simd::{BLOCK, Simd};

/// The gradients that were asked for.
pub(super) struct Gradients {
    /// Of the input, as planes.
    pub input: Option<Vec<f32>>,
    pub packed: Option<Vec<f32>>,
}

/// The gradient of a view on its way.
#[derive(Default)]
struct Part {
    sum: Option<Blocks>,
    /// Uses whose part has yet to come.
    left: usize,
    /// The sums over a settled gradient.
    sums: Option<PartialSums>,
}

/// All gradients of a run.
struct Backward<'a> {
    graph: &'a Graph,
    values: &'a Values,
    packed: &'a [f32],
    /// Raw and normed, by value.
    parts: Vec<[Part; 2]>,
    of_input: bool,
    of_packed: bool,
    found: Vec<f32>,
}

/// From the gradient of the result, as planes.
pub(super) fn run(
    graph: &Graph,
    values: &Values,
    packed: &[f32],
    gradient: &[f32],
    (of_input, of_packed): (bool, bool),
) -> Gradients {
    let part = |left| Part {
        left,
        ..Part::default()
    };
    let mut backward = Backward {
        graph,
        values,
        packed,
        parts: graph
            .uses()
            .into_iter()
            .map(|[raw, normed]| [part(raw), part(normed)])
            .collect(),
        of_input,
        of_packed,
        found: vec![0.0; if of_packed { packed.len() } else { 0 }],
    };
    backward.begin(gradient);
    for index in (0..graph.nodes.len()).rev() {
        backward.value(index);
    }
    let input = backward.parts[0][0].sum.take();
    let input = of_input.then(|| match input {
        Some(gradient) => to_planes(&gradient),
        None => vec![0.0; graph.nodes[0].shape.count() * graph.nodes[0].shape.channels],
    });
    Gradients {
        input,
        packed: of_packed.then_some(backward.found),
    }
}

impl<'a> Backward<'a> {
    fn part(&mut self, view: View) -> &mut Part {
        match view {
            View::Raw(index) => &mut self.parts[index][0],
            View::Normed(index) => &mut self.parts[index][1],
        }
    }

    /// Is a gradient of this view of use to anybody?
    fn wanted(&self, view: View) -> bool {
        view != View::Raw(0) || self.of_input
    }

    fn begin(&mut self, gradient: &[f32]) {
        let graph = self.graph;
        let result = graph.result();
        if let Some(node) = graph.nodes.last() {
            let mut sum = Blocks::new(node.shape);
            self.receive(result, 1, &mut sum, false, |sink| {
                turn_in(node, gradient, sink);
            });
            self.part(result).sum = Some(sum);
        }
    }

    /// Has `write` write the next part of a view's gradient, in `strips` an image, to `sum` or (`add`) onto it.
    fn receive(
        &mut self,
        view: View,
        strips: usize,
        sum: &mut Blocks,
        add: bool,
        write: impl FnOnce(&GradientSink),
    ) {
        let part = self.part(view);
        part.left -= 1;
        let last = part.left == 0;
        let sums = match view {
            View::Normed(_) if last => Some(PartialSums::new(&sum.shape, strips)),
            _ => None,
        };
        let sink = GradientSink {
            to: sum.shared(),
            add,
            settle: sums.as_ref().and_then(|sums| self.settle(view, sums)),
        };
        write(&sink);
        self.part(view).sums = sums;
    }

    /// How the whole gradient of a normed view is masked and summed.
    fn settle<'b>(&self, view: View, sums: &'b PartialSums) -> Option<Settle<'b>>
    where
        'a: 'b,
    {
        let View::Normed(index) = view else {
            return None;
        };
        let value = &self.values.0[index];
        let relu = self.graph.nodes[index]
            .norm
            .as_ref()
            .is_some_and(|norm| norm.relu);
        let sign = match &value.normed {
            Some(normed) => Sign::Output(normed),
            None => Sign::Norm,
        };
        value.norm.as_ref().map(|(_, affine)| Settle {
            raw: &value.raw,
            affine,
            sign: relu.then_some(sign),
            sums,
        })
    }

    /// A part of a view's gradient that lies in memory: taken over if it is the first.
    fn give(&mut self, view: View, gradient: Blocks) {
        if !self.wanted(view) {
            return;
        }
        let (mut sum, add) = match self.part(view).sum.take() {
            None => (gradient, None),
            Some(sum) => (sum, Some(gradient)),
        };
        let shape = sum.shape;
        self.receive(view, 1, &mut sum, false, |sink| {
            if add.is_some() || sink.settle.is_some() {
                let kernel = AddAndSettle {
                    sink,
                    add: add.as_ref(),
                };
                for_each_plane(&shape, &kernel);
            }
        });
        self.part(view).sum = Some(sum);
    }

    /// One value: its norm, its convolution, and what was added to either.
    fn value(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        let raw = self.parts[index][0].sum.take();
        let normed = self.parts[index][1].sum.take();
        let through_norm = match (&node.norm, normed) {
            (Some(norm), Some(gradient)) => {
                let affine = self.norm(index, norm);
                Some((norm, gradient, affine))
            }
            _ => None,
        };
        match (&node.convolution, through_norm) {
            (Some(convolution), Some((norm, gradient, affine)))
                if raw.is_none() && convolution.add.is_none() =>
            {
                let form = Form::NormGradient {
                    gradient: &gradient,
                    raw: &self.values.0[index].raw,
                    affine: &affine,
                };
                self.convolution(convolution, form);
                if let Some(residual) = norm.residual {
                    self.give(residual, gradient);
                }
            }
            (convolution, through_norm) => {
                let total = match through_norm {
                    None => raw,
                    Some((norm, gradient, affine)) => {
                        let total = self.in_front(index, raw, &gradient, &affine);
                        if let Some(residual) = norm.residual {
                            self.give(residual, gradient);
                        }
                        Some(total)
                    }
                };
                match (convolution, total) {
                    (Some(convolution), Some(total)) => {
                        self.convolution(convolution, Form::Plain(&total));
                        if let Some(add) = convolution.add {
                            self.give(add, total);
                        }
                    }
                    // Of the input: nothing lies in front of it.
                    (None, total) => self.parts[index][0].sum = total,
                    (Some(_), None) => {}
                }
            }
        }
    }

    /// The constants of a norm's gradient; writes those of gamma and beta.
    fn norm(&mut self, index: usize, norm: &NormNode) -> GradientAffine {
        let shape = self.graph.nodes[index].shape;
        let gamma = &self.packed[norm.gamma.clone()];
        let sums = self.parts[index][1].sums.take();
        let sums = sums.unwrap_or_else(|| PartialSums::new(&shape, 1));
        let (affine, of_gamma, of_beta) = match &self.values.0[index].norm {
            Some((statistics, _)) => statistics.gradient(&sums, gamma, shape.count()),
            None => (GradientAffine::zeros(shape.padded()), vec![], vec![]),
        };
        if self.of_packed {
            self.found[norm.gamma.clone()].copy_from_slice(&of_gamma);
            self.found[norm.beta.clone()].copy_from_slice(&of_beta);
        }
        affine
    }

    /// The gradient in front of a norm, with what reached the raw value otherwise.
    fn in_front(
        &self,
        index: usize,
        raw: Option<Blocks>,
        gradient: &Blocks,
        affine: &GradientAffine,
    ) -> Blocks {
        let add = raw.is_some();
        let mut total = raw.unwrap_or_else(|| Blocks::new(gradient.shape));
        let kernel = InFront {
            form: Form::NormGradient {
                gradient,
                raw: &self.values.0[index].raw,
                affine,
            },
            to: total.shared(),
            add,
        };
        for_each_plane(&gradient.shape, &kernel);
        total
    }

    /// Both gradients of a convolution from that of its output.
    fn convolution(&mut self, convolution: &Convolution, gradient: Form) {
        let (problem, padded) = (&convolution.problem, &convolution.padded);
        let input = convolution.input;
        let source = self.values.form(self.graph, input);
        let weight = &self.packed[convolution.weight.clone()];
        let weight = pad(weight, problem, padded);
        let mut of_weight = None;
        if !self.wanted(input) {
            if self.of_packed {
                of_weight = Some(pixel_major::weight_gradient(padded, &source, &gradient));
            }
        } else {
            let (index, which) = match input {
                View::Raw(index) => (index, 0),
                View::Normed(index) => (index, 1),
            };
            let sum = self.parts[index][which].sum.take();
            let add = sum.is_some();
            let mut sum = sum.unwrap_or_else(|| Blocks::new(self.graph.nodes[index].shape));
            let strips = pixel_major::strips(padded).1;
            let of_packed = self.of_packed;
            self.receive(input, strips, &mut sum, add, |sink| {
                if of_packed {
                    let both = pixel_major::gradients(padded, &source, &gradient, &weight, sink);
                    of_weight = Some(both);
                } else {
                    pixel_major::input_gradient(padded, &gradient, &weight, sink);
                }
            });
            self.parts[index][which].sum = Some(sum);
        }
        if let Some(of_weight) = of_weight {
            let to = &mut self.found[convolution.weight.clone()];
            unpad(&of_weight, problem, padded, to);
        }
    }
}

/// Adds to a gradient that lies in memory, and settles it.
struct AddAndSettle<'a> {
    sink: &'a GradientSink<'a>,
    add: Option<&'a Blocks>,
}

impl PlaneKernel for AddAndSettle<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize) {
        let to = self.sink.to.plane(image, channel);
        let pixels = 0..self.sink.to.shape.pixels();
        // SAFETY: the plane exists and is this task's.
        unsafe {
            if let Some(add) = self.add {
                let add = add.plane(image, channel);
                for at in (0..add.len()).step_by(S::LANES) {
                    let sum = S::add(S::load(to.add(at)), S::load(add[at..].as_ptr()));
                    S::store(to.add(at), sum);
                }
            }
            if let Some(settle) = &self.sink.settle {
                settle.run::<S>(to, (image, 0, channel), pixels);
            }
        }
    }
}

/// Writes a form, or adds it.
struct InFront<'a> {
    form: Form<'a>,
    to: Target,
    add: bool,
}

impl PlaneKernel for InFront<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize) {
        let mut write = Write {
            to: self.to.plane(image, channel),
            pixels: self.to.shape.pixels(),
            add: self.add,
        };
        // SAFETY: the plane exists and is this task's.
        unsafe { self.form.with_lanes::<S>(image, channel, &mut write) }
    }
}

struct Write {
    to: *mut f32,
    pixels: usize,
    add: bool,
}

impl<S: Simd> WithLanes<S> for Write {
    #[inline(always)]
    unsafe fn run(&mut self, lane: usize, lanes: impl Lanes<S>) {
        for at in (0..self.pixels * BLOCK).step_by(BLOCK) {
            // SAFETY: the pixels lie in the plane.
            unsafe {
                let to = self.to.add(at + lane);
                let value = match self.add {
                    true => S::add(S::load(to), lanes.value(at)),
                    false => lanes.value(at),
                };
                S::store(to, value);
            }
        }
    }
}
