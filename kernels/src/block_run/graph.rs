//! A run as a list of values: what each is computed from, and which parameters it takes.

use super::blocks::Shape;
use super::{Norm, OP, Unit, View};
use crate::activation::Activation;
use crate::conv2d::{Problem, pixel_major};
use crate::operand::{require_dtype, require_shape, shape_error, value_error};
use crate::simd::BLOCK;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// One value: the run's input (the first), or a convolution's output; and its norm, if it has one.
pub(super) struct Node {
    pub shape: Shape,
    pub convolution: Option<Convolution>,
    pub norm: Option<NormNode>,
    /// Is the normed value kept? It is not where convolutions alone read it.
    pub stored: bool,
}

/// How a value comes about.
pub(super) struct Convolution {
    pub problem: Problem,
    /// The same with channels in whole blocks.
    pub padded: Problem,
    pub input: View,
    pub add: Option<View>,
    /// Its weight among the packed parameters.
    pub weight: Range<usize>,
}

/// A norm behind a value.
pub(super) struct NormNode {
    pub gamma: Range<usize>,
    pub beta: Range<usize>,
    pub eps: f64,
    pub residual: Option<View>,
    pub relu: bool,
}

/// All values of a run; the last, normed if it has a norm, is the result.
pub(super) struct Graph {
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Checks the arguments and reads the graph off.
    pub(super) fn new(input: &Tensor, input_norm: Option<&Norm>, units: &[Unit]) -> Result<Self> {
        let [batch, channels, height, width] = *input.dims() else {
            let expected = "[batch, channels, height, width]";
            return Err(shape_error(OP, "input", input, expected));
        };
        let mut packed = 0;
        let mut graph = Self { nodes: Vec::new() };
        let shape = Shape {
            batch,
            channels,
            size: (height, width),
        };
        graph.push(input, shape, None, input_norm, &mut packed)?;
        for unit in units {
            let convolution = graph.convolution(input, unit, &mut packed)?;
            let problem = &convolution.problem;
            let shape = Shape {
                batch,
                channels: problem.out_channels,
                size: problem.output,
            };
            graph.push(
                input,
                shape,
                Some(convolution),
                unit.norm.as_ref(),
                &mut packed,
            )?;
        }
        graph.mark_stored();
        Ok(graph)
    }

    fn push(
        &mut self,
        input: &Tensor,
        shape: Shape,
        convolution: Option<Convolution>,
        norm: Option<&Norm>,
        packed: &mut usize,
    ) -> Result<()> {
        let norm = norm
            .map(|norm| -> Result<_> {
                for (argument, tensor) in [("gamma", norm.gamma), ("beta", norm.beta)] {
                    require_shape(OP, argument, tensor, &[shape.channels])?;
                    require_dtype(OP, argument, tensor, input.dtype())?;
                }
                if norm.eps.is_nan() || norm.eps < 0.0 {
                    return Err(value_error(OP, "eps", norm.eps, "a number of at least 0"));
                }
                if shape.count() < 2 {
                    let expected = "more than one value per channel wherever there is a norm";
                    return Err(shape_error(OP, "input", input, expected));
                }
                self.check_same("residual", norm.residual, shape)?;
                Ok(NormNode {
                    gamma: take(packed, shape.channels),
                    beta: take(packed, shape.channels),
                    eps: norm.eps,
                    residual: norm.residual,
                    relu: norm.activation == Activation::Relu,
                })
            })
            .transpose()?;
        self.nodes.push(Node {
            shape,
            convolution,
            norm,
            stored: false,
        });
        Ok(())
    }

    fn convolution(&self, input: &Tensor, unit: &Unit, packed: &mut usize) -> Result<Convolution> {
        require_dtype(OP, "weight", unit.weight, input.dtype())?;
        let source = self.check_view("input of a unit", unit.input)?;
        let dims = [source.batch, source.channels, source.size.0, source.size.1];
        let problem = Problem::of_shapes(OP, &dims, unit.weight.dims(), &unit.geometry)?;
        let shape = Shape {
            batch: source.batch,
            channels: problem.out_channels,
            size: problem.output,
        };
        self.check_same("add", unit.add, shape)?;
        Ok(Convolution {
            padded: in_blocks(&problem),
            weight: take(packed, problem.weight_len()),
            problem,
            input: unit.input,
            add: unit.add,
        })
    }

    /// The shape of a view of a value that is there already.
    fn check_view(&self, argument: &'static str, view: View) -> Result<Shape> {
        let (index, normed) = match view {
            View::Raw(index) => (index, false),
            View::Normed(index) => (index, true),
        };
        let expected = || format!("a value below {}", self.nodes.len());
        let node = self
            .nodes
            .get(index)
            .ok_or_else(|| value_error(OP, argument, format!("{view:?}"), expected()))?;
        if normed && node.norm.is_none() {
            let expected = format!("View::Raw({index}): the value has no norm");
            return Err(value_error(OP, argument, format!("{view:?}"), expected));
        }
        Ok(node.shape)
    }

    fn check_same(&self, argument: &'static str, view: Option<View>, shape: Shape) -> Result<()> {
        let Some(view) = view else { return Ok(()) };
        let found = self.check_view(argument, view)?;
        if found == shape {
            return Ok(());
        }
        let describe = |shape: Shape| {
            let Shape {
                batch,
                channels,
                size: (height, width),
            } = shape;
            format!("[{batch}, {channels}, {height}, {width}]")
        };
        let found = format!("{view:?} of shape {}", describe(found));
        Err(value_error(OP, argument, found, describe(shape)))
    }

    /// Normed values with a residual, or that something other than a convolution reads, and the result.
    fn mark_stored(&mut self) {
        let mut stored: Vec<bool> = self
            .nodes
            .iter()
            .map(|node| {
                node.norm
                    .as_ref()
                    .is_some_and(|norm| norm.residual.is_some())
            })
            .collect();
        for node in &self.nodes {
            let added = node.convolution.as_ref().and_then(|found| found.add);
            if let Some(View::Normed(index)) = added {
                stored[index] = true;
            }
        }
        if let Some(last) = stored.last_mut() {
            *last = true;
        }
        for (node, stored) in self.nodes.iter_mut().zip(stored) {
            node.stored = stored && node.norm.is_some();
        }
    }

    /// Can the kernels for blocks of channels run this?
    pub(super) fn suits_blocks(&self) -> bool {
        self.nodes.iter().skip(1).all(|node| {
            node.convolution
                .as_ref()
                .is_some_and(|found| pixel_major::suits(&found.padded))
        }) && self.nodes.len() > 1
    }

    /// How often each value is read, raw and normed, on the way to the result.
    pub(super) fn uses(&self) -> Vec<[usize; 2]> {
        let mut uses = vec![[0, 0]; self.nodes.len()];
        let count = |uses: &mut Vec<[usize; 2]>, view: Option<View>| match view {
            Some(View::Raw(index)) => uses[index][0] += 1,
            Some(View::Normed(index)) => uses[index][1] += 1,
            None => {}
        };
        count(&mut uses, Some(self.result()));
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let [raw, normed] = uses[index];
            if normed > 0 {
                count(&mut uses, node.norm.as_ref().and_then(|norm| norm.residual));
            }
            if let Some(found) = &node.convolution
                && raw + normed > 0
            {
                count(&mut uses, Some(found.input));
                count(&mut uses, found.add);
            }
        }
        uses
    }

    /// The view that is the run's result.
    pub(super) fn result(&self) -> View {
        let last = self.nodes.len() - 1;
        match self.nodes[last].norm {
            Some(_) => View::Normed(last),
            None => View::Raw(last),
        }
    }
}

fn take(packed: &mut usize, len: usize) -> Range<usize> {
    let start = *packed;
    *packed += len;
    start..*packed
}

/// The problem with channels in whole blocks; channels in groups cannot be filled up unless each has its own.
fn in_blocks(problem: &Problem) -> Problem {
    let mut padded = *problem;
    let depthwise = problem.group_in() == 1 && problem.group_out() == 1;
    if depthwise || problem.geometry.groups == 1 {
        padded.in_channels = problem.in_channels.next_multiple_of(BLOCK);
        padded.out_channels = problem.out_channels.next_multiple_of(BLOCK);
        if depthwise && problem.geometry.groups > 1 {
            padded.geometry.groups = padded.in_channels;
        }
    }
    padded
}
