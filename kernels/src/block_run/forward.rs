//! The forward pass of a run, in blocks of channels.

use super::View;
use super::blocks::{Blocks, FromPlanes, PlaneKernel, Target, ToPlanes, for_each_plane, in_order};
use super::form::{Form, Lanes, WithLanes};
use super::graph::{Convolution, Graph, Node};
use super::norm::{Affine, PartialMoments, Statistics};
use super::sink::RawSink;
use super::weights::pad;
use crate::conv2d::pixel_major;
use crate::conv2d::transfer::{PlaneSink, PlaneSource};
use crate::output::Output;
use crate::simd::{BLOCK, Simd};
use crate::threads::Shared;

/// What one value leaves behind.
pub(super) struct Value {
    pub raw: Blocks,
    pub norm: Option<(Statistics, Affine)>,
    /// The normed value, where it is stored.
    pub normed: Option<Blocks>,
}

/// All values of a run.
pub(super) struct Values(pub Vec<Value>);

impl Values {
    /// A view, to be read.
    pub(super) fn form(&self, graph: &Graph, view: View) -> Form<'_> {
        match view {
            View::Raw(index) => Form::Plain(&self.0[index].raw),
            View::Normed(index) => match &self.0[index] {
                Value {
                    normed: Some(normed),
                    ..
                } => Form::Plain(normed),
                Value {
                    raw,
                    norm: Some((_, affine)),
                    ..
                } => Form::Normed {
                    raw,
                    affine,
                    relu: graph.nodes[index]
                        .norm
                        .as_ref()
                        .is_some_and(|norm| norm.relu),
                },
                // The graph has no such view.
                Value { raw, .. } => Form::Plain(raw),
            },
        }
    }

    /// A view that is stored.
    fn stored(&self, view: View) -> &Blocks {
        match view {
            View::Raw(index) => &self.0[index].raw,
            View::Normed(index) => self.0[index].normed.as_ref().unwrap_or(&self.0[index].raw),
        }
    }
}

/// The result as planes, and all values.
pub(super) fn run(graph: &Graph, input: &[f32], packed: &[f32]) -> (Vec<f32>, Values) {
    let mut values = Values(Vec::with_capacity(graph.nodes.len()));
    for node in &graph.nodes {
        let (raw, moments) = match &node.convolution {
            None => from_planes(node, input),
            Some(convolution) => convolve(graph, node, convolution, packed, &values),
        };
        let norm = node.norm.as_ref().zip(moments).map(|(norm, moments)| {
            let statistics = Statistics::combine(&moments, node.shape.channels, norm.eps);
            let affine = statistics.affine(&packed[norm.gamma.clone()], &packed[norm.beta.clone()]);
            (statistics, affine)
        });
        values.0.push(Value {
            raw,
            norm,
            normed: None,
        });
        if node.stored {
            let normed = store_normed(graph, node, &values);
            if let Some(value) = values.0.last_mut() {
                value.normed = Some(normed);
            }
        }
    }
    (to_planes(values.stored(graph.result())), values)
}

fn moments_for(node: &Node, strips: usize) -> Option<PartialMoments> {
    node.norm
        .is_some()
        .then(|| PartialMoments::new(&node.shape, strips))
}

fn from_planes(node: &Node, input: &[f32]) -> (Blocks, Option<PartialMoments>) {
    let mut raw = Blocks::new(node.shape);
    let moments = moments_for(node, 1);
    let sink = RawSink {
        to: raw.shared(),
        add: None,
        moments: moments.as_ref(),
    };
    turn_in(node, input, &sink);
    (raw, moments)
}

/// Hands planes of a node's shape to `sink`, block by block.
pub(super) fn turn_in(node: &Node, values: &[f32], sink: &impl crate::conv2d::transfer::Sink) {
    let kernel = FromPlanes {
        planes: PlaneSource {
            values,
            channels: node.shape.channels,
            pixels: node.shape.pixels(),
        },
        offsets: &in_order(node.shape.pixels()),
        shape: node.shape,
        sink,
    };
    for_each_plane(&node.shape, &kernel);
}

fn convolve(
    graph: &Graph,
    node: &Node,
    convolution: &Convolution,
    packed: &[f32],
    values: &Values,
) -> (Blocks, Option<PartialMoments>) {
    let padded = &convolution.padded;
    let mut raw = Blocks::new(node.shape);
    let moments = moments_for(node, pixel_major::strips(padded).0);
    let sink = RawSink {
        to: raw.shared(),
        add: convolution.add.map(|view| values.stored(view)),
        moments: moments.as_ref(),
    };
    let weight = &packed[convolution.weight.clone()];
    let weight = pad(weight, &convolution.problem, padded);
    let source = values.form(graph, convolution.input);
    pixel_major::forward(padded, &source, &weight, &sink);
    (raw, moments)
}

/// `act(norm(raw) + residual)` of the last value.
fn store_normed(graph: &Graph, node: &Node, values: &Values) -> Blocks {
    let mut normed = Blocks::new(node.shape);
    if let (Some(norm), Some(value)) = (&node.norm, values.0.last())
        && let Some((_, affine)) = &value.norm
    {
        let kernel = StoreNormed {
            normed: Form::Normed {
                raw: &value.raw,
                affine,
                relu: norm.relu && norm.residual.is_none(),
            },
            residual: norm.residual.map(|view| values.form(graph, view)),
            relu: norm.relu,
            to: normed.shared(),
        };
        for_each_plane(&node.shape, &kernel);
    }
    normed
}

struct StoreNormed<'a> {
    normed: Form<'a>,
    residual: Option<Form<'a>>,
    relu: bool,
    to: Target,
}

impl PlaneKernel for StoreNormed<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize) {
        let mut store = StoreLanes {
            to: self.to.plane(image, channel),
            pixels: self.to.shape.pixels(),
        };
        // SAFETY: the plane exists and is this task's.
        unsafe {
            self.normed.with_lanes::<S>(image, channel, &mut store);
            if let Some(residual) = &self.residual {
                // The plane lies in the nearest cache still.
                let mut add = AddLanes {
                    store,
                    relu: self.relu,
                };
                residual.with_lanes::<S>(image, channel, &mut add);
            }
        }
    }
}

struct StoreLanes {
    to: *mut f32,
    pixels: usize,
}

impl<S: Simd> WithLanes<S> for StoreLanes {
    #[inline(always)]
    unsafe fn run(&mut self, lane: usize, lanes: impl Lanes<S>) {
        for at in (0..self.pixels * BLOCK).step_by(BLOCK) {
            // SAFETY: the pixels lie in the plane.
            unsafe { S::store(self.to.add(at + lane), lanes.value(at)) };
        }
    }
}

struct AddLanes {
    store: StoreLanes,
    relu: bool,
}

impl<S: Simd> WithLanes<S> for AddLanes {
    #[inline(always)]
    unsafe fn run(&mut self, lane: usize, lanes: impl Lanes<S>) {
        for at in (0..self.store.pixels * BLOCK).step_by(BLOCK) {
            // SAFETY: the pixels lie in the plane.
            unsafe {
                let to = self.store.to.add(at + lane);
                let sum = S::add(S::load(to), lanes.value(at));
                let sum = match self.relu {
                    true => S::keep_positive(sum, sum),
                    false => sum,
                };
                S::store(to, sum);
            }
        }
    }
}

/// A tensor as `[batch, channels, height, width]`.
pub(super) fn to_planes(blocks: &Blocks) -> Vec<f32> {
    let shape = blocks.shape;
    let planes = Output::new(shape.batch * shape.channels * shape.pixels());
    let kernel = ToPlanes {
        blocks,
        offsets: &in_order(shape.pixels()),
        planes: PlaneSink {
            // SAFETY: tasks write disjoint planes of it, and nothing else uses it until then.
            values: Shared(
                unsafe { planes.range(0..shape.batch * shape.channels * shape.pixels()) }
                    .as_mut_ptr()
                    .cast(),
            ),
            channels: shape.channels,
            pixels: shape.pixels(),
        },
    };
    for_each_plane(&shape, &kernel);
    // SAFETY: the planes of all present channels were written.
    unsafe { planes.finish() }
}
