//! The arithmetic of Catch-Up Distillation on a GPU.

use super::Samples;
use super::clamped::{Clamped, ClampedGradient};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::{DType, Result};

#[cfg(test)]
mod tests;

const MODULE: &str = "rk_step";
/// What a kernel has arguments for.
const MOST_SLOPES: usize = 4;
const MOST_STATES: usize = 3;
const MOST_HEADS: usize = 4;

/// A function of this file: whose name an error has, and that of its argument.
type Names = (&'static str, &'static str);

/// How the elements of a launch are shared out.
struct Items {
    name: String,
    count: usize,
    of_sample: usize,
}

impl Items {
    /// Items of 16 bytes if the samples and all operands allow it, else of one element.
    fn new<M>(
        kernel: &str,
        (op, argument): Names,
        samples: Samples,
        operands: &[View<'_, M>],
    ) -> Result<Self> {
        let dtype = operands[0].dtype;
        let suffix = suffix(op, argument, dtype)?;
        let packed = samples.image.is_multiple_of(lanes(dtype))
            && operands.iter().all(|operand| operand.aligned());
        let of_sample = samples.image / if packed { lanes(dtype) } else { 1 };
        let count = samples.batch * of_sample;
        if count > i32::MAX as usize {
            candle_core::bail!("{op}: {count} items are too many for a CUDA kernel");
        }
        let packed = if packed { "packed_" } else { "" };
        Ok(Self {
            name: format!("rk_{kernel}_{packed}{suffix}"),
            count,
            of_sample,
        })
    }

    fn launch<G: Gpu>(&self, gpu: &G, arguments: &mut [Argument<'_, G::Memory>]) -> Result<()> {
        // A launch of no blocks is an error, and there is nothing to do.
        match self.count {
            0 => Ok(()),
            count => gpu.launch(kernel(&self.name), Grid::over(gpu, count), arguments),
        }
    }

    fn count<'a, M>(&self) -> Argument<'a, M> {
        Argument::size(self.count)
    }

    fn of_sample<'a, M>(&self) -> Argument<'a, M> {
        // 1 where there is nothing, as a divisor.
        Argument::size(self.of_sample.max(1))
    }
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: MODULE,
        name,
    }
}

/// The type of the numbers that each sample has one of.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// `views`, or null behind the last.
fn pointers<'a, M>(views: &[View<'a, M>], count: usize) -> impl Iterator<Item = Argument<'a, M>> {
    let views: Vec<_> = views.iter().map(|&view| Some(view)).collect();
    (0..count).map(move |index| Argument::read_if(views.get(index).copied().flatten()))
}

/// Weights and steps of the states, as the kernels take them.
fn rule<'a, M>(weights: &[Vec<f64>], steps: &[f64]) -> Vec<Argument<'a, M>> {
    let steps = (0..MOST_STATES).map(|state| steps.get(state).copied());
    let weights = (0..MOST_STATES * MOST_SLOPES).map(|index| {
        let of_state = weights.get(index / MOST_SLOPES);
        of_state.and_then(|weights| weights.get(index % MOST_SLOPES).copied())
    });
    steps
        .chain(weights)
        .map(|number| Argument::Real(number.unwrap_or(0.0)))
        .collect()
}

/// See [`super::states::States`].
pub(super) struct States<'a> {
    pub(super) op: &'static str,
    pub(super) samples: Samples,
    pub(super) weights: &'a [Vec<f64>],
    pub(super) steps: &'a [f64],
}

impl States<'_> {
    /// The states, one after the other.
    pub(super) fn forward<G: Gpu>(
        &self,
        gpu: &G,
        x: View<'_, G::Memory>,
        slopes: &[View<'_, G::Memory>],
        dt: View<'_, G::Memory>,
    ) -> Result<G::Memory> {
        let length = self.samples.len();
        let operands: Vec<_> = std::iter::once(x).chain(slopes.iter().copied()).collect();
        let items = Items::new("states", (self.op, "x"), self.samples, &operands)?;
        let mut states = gpu.allocate(x.dtype, self.steps.len() * length)?;
        let mut arguments = vec![Argument::Read(x)];
        arguments.extend(pointers(slopes, MOST_SLOPES));
        arguments.extend([Argument::Read(dt), Argument::write(&mut states)]);
        arguments.extend(rule(self.weights, self.steps));
        arguments.extend([
            Argument::int(self.steps.len())?,
            items.count(),
            items.of_sample(),
            Argument::size(length),
        ]);
        items.launch(gpu, &mut arguments)?;
        Ok(states)
    }

    /// The gradients of x (if wanted) and of so many slopes, one after the other.
    pub(super) fn gradients<G: Gpu>(
        &self,
        gpu: &G,
        gradient: View<'_, G::Memory>,
        dt: View<'_, G::Memory>,
        of_x: bool,
        slopes: usize,
    ) -> Result<G::Memory> {
        let length = self.samples.len();
        let names = (self.op, "gradient");
        let items = Items::new("state_gradients", names, self.samples, &[gradient])?;
        let outputs = usize::from(of_x) + slopes;
        let mut found = gpu.allocate(gradient.dtype, outputs * length)?;
        let mut arguments = vec![
            Argument::Read(gradient),
            Argument::Read(dt),
            Argument::write(&mut found),
        ];
        arguments.extend(rule(self.weights, self.steps));
        arguments.extend([
            Argument::int(self.steps.len())?,
            Argument::Int(of_x.into()),
            Argument::int(slopes)?,
            items.count(),
            items.of_sample(),
            Argument::size(length),
        ]);
        items.launch(gpu, &mut arguments)?;
        Ok(found)
    }

    /// Σ_j steps_j Σ_d gradient_j · Σ_i weights_ji · slopes_i of every sample.
    pub(super) fn sample_products<G: Gpu>(
        &self,
        gpu: &G,
        gradient: View<'_, G::Memory>,
        slopes: &[View<'_, G::Memory>],
    ) -> Result<G::Memory> {
        let Samples { batch, image } = self.samples;
        let suffix = suffix(self.op, "gradient", gradient.dtype)?;
        let mut products = gpu.allocate(wide(gradient.dtype), batch)?;
        if batch == 0 {
            return Ok(products);
        }
        let mut arguments = vec![Argument::Read(gradient)];
        arguments.extend(pointers(slopes, MOST_SLOPES));
        arguments.push(Argument::write(&mut products));
        arguments.extend(rule(self.weights, self.steps));
        arguments.extend([
            Argument::int(self.steps.len())?,
            Argument::size(batch),
            Argument::size(image),
        ]);
        let name = format!("rk_sample_products_{suffix}");
        let grid = Grid([batch.min(gpu.most_blocks()) as u32, 1, 1]);
        gpu.launch(kernel(&name), grid, &mut arguments)?;
        Ok(products)
    }
}

/// x_t and, if wanted, g.
pub(super) fn interpolate<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    z: View<'_, G::Memory>,
    t: View<'_, G::Memory>,
    samples: Samples,
    velocity: bool,
) -> Result<(G::Memory, Option<G::Memory>)> {
    let items = Items::new("interpolate", ("interpolate", "x"), samples, &[x, z])?;
    let mut state = gpu.allocate(x.dtype, samples.len())?;
    let mut of_velocity = match velocity {
        true => Some(gpu.allocate(x.dtype, samples.len())?),
        false => None,
    };
    let mut arguments = [
        Argument::Read(x),
        Argument::Read(z),
        Argument::Read(t),
        Argument::write(&mut state),
        Argument::write_if(of_velocity.as_mut()),
        items.count(),
        items.of_sample(),
    ];
    items.launch(gpu, &mut arguments)?;
    Ok((state, of_velocity))
}

/// (1 − t) and t times the gradient, those of them that are wanted, one after the other.
pub(super) fn interpolate_gradients<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    t: View<'_, G::Memory>,
    samples: Samples,
    (of_x, of_z): (bool, bool),
) -> Result<G::Memory> {
    let names = ("interpolate", "gradient");
    let items = Items::new("interpolate_gradients", names, samples, &[gradient])?;
    let outputs = usize::from(of_x) + usize::from(of_z);
    let mut found = gpu.allocate(gradient.dtype, outputs * samples.len())?;
    let mut arguments = [
        Argument::Read(gradient),
        Argument::Read(t),
        Argument::write(&mut found),
        Argument::Int(of_x.into()),
        Argument::Int(of_z.into()),
        items.count(),
        items.of_sample(),
        Argument::size(samples.len()),
    ];
    items.launch(gpu, &mut arguments)?;
    Ok(found)
}

/// All elements as one sample: for functions that know no samples.
fn together(length: usize) -> Samples {
    Samples {
        batch: 1,
        image: length,
    }
}

/// The next state and, if wanted, the estimate, one after the other.
pub(super) fn clamped<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    v: View<'_, G::Memory>,
    previous: Option<View<'_, G::Memory>>,
    step: &Clamped,
) -> Result<G::Memory> {
    let length = x.length;
    let operands: Vec<_> = [x, v].into_iter().chain(previous).collect();
    let names = ("sampler_update", "x");
    let items = Items::new("clamped", names, together(length), &operands)?;
    let outputs = 1 + usize::from(step.estimate);
    let mut next = gpu.allocate(x.dtype, outputs * length)?;
    let mut arguments = [
        Argument::Read(x),
        Argument::Read(v),
        Argument::read_if(previous),
        Argument::write(&mut next),
        Argument::Int(step.estimate.into()),
        Argument::Real(step.h),
        Argument::Real(step.t),
        Argument::Real(step.low),
        Argument::Real(step.high),
        items.count(),
        Argument::size(length),
    ];
    items.launch(gpu, &mut arguments)?;
    Ok(next)
}

/// dx and dv, one after the other.
pub(super) fn clamped_gradients<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    x: View<'_, G::Memory>,
    v: View<'_, G::Memory>,
    op: &ClampedGradient,
) -> Result<G::Memory> {
    let (length, step) = (x.length, &op.step);
    let of_estimate = step.estimate.then(|| gradient.narrow(length, length));
    let operands = [gradient, x, v];
    let names = ("sampler_update", "gradient");
    let items = Items::new("clamped_gradients", names, together(length), &operands)?;
    let mut found = gpu.allocate(x.dtype, 2 * length)?;
    let mut arguments = [
        Argument::Read(gradient.narrow(0, length)),
        Argument::read_if(of_estimate),
        Argument::Read(x),
        Argument::Read(v),
        Argument::write(&mut found),
        Argument::Real(op.share()),
        Argument::Real(step.t),
        Argument::Real(step.low),
        Argument::Real(step.high),
        items.count(),
        Argument::size(length),
    ];
    items.launch(gpu, &mut arguments)?;
    Ok(found)
}

/// The operands of the loss.
pub(super) struct Loss<'a, M> {
    pub(super) samples: Samples,
    pub(super) predictions: &'a [View<'a, M>],
    pub(super) targets: &'a [View<'a, M>],
    pub(super) velocity: View<'a, M>,
    pub(super) mask: Option<View<'a, M>>,
    /// (w1, w2) of every head.
    pub(super) weights: &'a [(f64, f64)],
    /// ω of every sample.
    pub(super) of_samples: Option<View<'a, M>>,
}

/// The loss (one number) and the gradients that were asked for.
pub(super) struct Found<M> {
    pub(super) loss: M,
    pub(super) of_predictions: Vec<Option<M>>,
    pub(super) of_velocity: Option<M>,
}

impl<M> Loss<'_, M> {
    /// One pass over all operands for each four heads, and one over the blocks' partial sums
    /// (8 bytes a block of workspace).
    pub(super) fn run<G: Gpu<Memory = M>>(
        &self,
        gpu: &G,
        wanted: &[bool],
        of_velocity: bool,
    ) -> Result<Found<M>> {
        const OP: &str = "catchup_loss";
        let dtype = self.velocity.dtype;
        let length = self.samples.len();
        let all: Vec<_> = std::iter::once(&self.velocity)
            .chain(self.predictions)
            .chain(self.targets)
            .copied()
            .collect();
        let items = Items::new("loss", (OP, "predictions"), self.samples, &all)?;
        let new = |wanted: bool| wanted.then(|| gpu.allocate(dtype, length)).transpose();
        let mut found = Found {
            loss: gpu.allocate(dtype, 1)?,
            of_predictions: wanted
                .iter()
                .map(|&wanted| new(wanted))
                .collect::<Result<_>>()?,
            of_velocity: new(of_velocity)?,
        };
        let blocks = Grid::over(gpu, items.count).blocks();
        let launches = match items.count {
            0 => 0,
            _ => self.predictions.len().div_ceil(MOST_HEADS),
        };
        let mut partial = gpu.allocate(DType::F64, (launches * blocks).max(1))?;
        let Found {
            of_predictions,
            of_velocity,
            ..
        } = &mut found;
        for (launch, dp) in of_predictions.chunks_mut(MOST_HEADS).enumerate() {
            let heads = launch * MOST_HEADS..launch * MOST_HEADS + dp.len();
            let mut arguments: Vec<_> = pointers(&self.predictions[heads.clone()], MOST_HEADS)
                .chain(pointers(&self.targets[heads.clone()], MOST_HEADS))
                .collect();
            let absent = MOST_HEADS - dp.len();
            arguments.extend(dp.iter_mut().map(|dp| Argument::write_if(dp.as_mut())));
            arguments.extend((0..absent).map(|_| Argument::Absent));
            let number = |number: Option<f64>| Argument::Real(number.unwrap_or(0.0));
            let weights = &self.weights[heads];
            let each = 0..MOST_HEADS;
            arguments.extend(
                each.clone()
                    .map(|head| number(weights.get(head).map(|w| w.0))),
            );
            arguments.extend(each.map(|head| number(weights.get(head).map(|w| w.1))));
            arguments.extend([
                Argument::Read(self.velocity),
                Argument::write_if(of_velocity.as_mut()),
                Argument::read_if(self.mask),
                Argument::read_if(self.of_samples),
                Argument::Write(&mut partial, launch * blocks),
                Argument::Real(2.0 / length as f64),
                Argument::Int((launch == 0).into()),
                items.count(),
                items.of_sample(),
            ]);
            items.launch(gpu, &mut arguments)?;
        }
        let name = format!("rk_loss_finish_{}", suffix(OP, "predictions", dtype)?);
        let mut arguments = [
            Argument::Read(gpu.view(&partial)),
            Argument::write(&mut found.loss),
            Argument::int(launches * blocks)?,
            // The mean over nothing is 0 / 0.
            Argument::Real(1.0 / length as f64),
        ];
        gpu.launch(kernel(&name), Grid([1; 3]), &mut arguments)?;
        Ok(found)
    }
}

/// `values` times the one number `factor`, in place; free where the factor is 1.
pub(super) fn scale_in_place<G: Gpu>(
    gpu: &G,
    values: &mut G::Memory,
    (dtype, length): (DType, usize),
    factor: View<'_, G::Memory>,
) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    let name = format!("rk_scale_{}", suffix("catchup_loss", "gradient", dtype)?);
    let mut arguments = [
        Argument::write(values),
        Argument::Read(factor),
        Argument::size(length),
    ];
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)
}
