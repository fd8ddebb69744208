//! States of a Runge-Kutta step: `x − h Σ w k` for one or more sets of weights.

#[cfg(feature = "cuda")]
use super::cuda;
use super::rule::StageRule;
#[cfg(feature = "cuda")]
use super::views::with_views;
use super::{Samples, cpu, require_like, stacked, unstack};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{slice, unsupported, value_error, with_slices};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};

/// Velocities a step may have.
const MOST: usize = 4;

/// The point of the next stage, `x − dt Σ_i coefficients_i · slopes_i`.
///
/// * `x`: `[batch, …]`
/// * `slopes` k_i: one to four tensors like x; one whose coefficient is 0 is not read
/// * `dt`: `[batch]`, of type `f64` where x is `f64`, else `f32`; `dt > 0` goes toward the data
///
/// [`StageRule::stages`] has the coefficients. Differentiable in x, the slopes and dt.
/// Slopes that carry no gradient are read in place: 12 bytes an element in `f32` with
/// one, 4 more for each further one; else all are copied into one tensor first.
///
/// # Errors
/// If there are no or more than four slopes, not as many coefficients, or a shape or
/// type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu);
/// let dt = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// let point = taper_kernels::rk_stage(&tensor(1.)?, &[&tensor(4.)?], &[0.5], &dt)?;
/// assert_eq!(point.to_vec2::<f32>()?, [[0.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rk_stage(
    x: &Tensor,
    slopes: &[&Tensor],
    coefficients: &[f64],
    dt: &Tensor,
) -> Result<Tensor> {
    const OP: &str = "rk_stage";
    if coefficients.len() != slopes.len() {
        let expected = format!("{}, one for each slope", slopes.len());
        return Err(value_error(
            OP,
            "coefficients",
            format!("{} numbers", coefficients.len()),
            expected,
        ));
    }
    let samples = check(OP, x, slopes, dt)?;
    let op = States::new(OP, samples, vec![coefficients.to_vec()], vec![1.0]);
    op.apply(x, slopes, dt)?.get(0)
}

/// The states of a step from x, of the order of as many velocities as there are `slopes`.
///
/// * `x`: `[batch, …]`; `slopes` k_1 … k_n: like x, taken where [`StageRule::stages`] says
/// * `dt` h: `[batch]`, of type `f64` where x is `f64`, else `f32`
///
/// Orders 1 to 3 return the catch-up states s_1 … s_n of times t − h … t − n h,
/// `s_j = x − j h m` with m = k_1, (k_1 + k_2) / 2 or (5 k_1 + 8 k_2 − k_3) / 12 by the
/// paper's rule; order 4 returns the end of a classical step,
/// `x − h (k_1 + 2 k_2 + 2 k_3 + k_4) / 6`, alone. The states are parts of one tensor.
/// Differentiable in x, the slopes and dt. Slopes that carry no gradient (they are
/// constants of the catch-up loss) are read in place: 12, 20, 28 and 24 bytes an element
/// in `f32`; else all are copied into one tensor first.
///
/// # Errors
/// If there are no or more than four slopes, or a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{StageRule, rk_step};
/// let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu);
/// let dt = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// let states = rk_step(&tensor(1.)?, &[&tensor(4.)?, &tensor(2.)?], &dt, StageRule::Paper)?;
/// assert_eq!(states[0].to_vec2::<f32>()?, [[-0.5]]);
/// assert_eq!(states[1].to_vec2::<f32>()?, [[-2.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rk_step(
    x: &Tensor,
    slopes: &[&Tensor],
    dt: &Tensor,
    rule: StageRule,
) -> Result<Vec<Tensor>> {
    const OP: &str = "rk_step";
    let samples = check(OP, x, slopes, dt)?;
    let states = rule.states(slopes.len());
    let op = States::new(
        OP,
        samples,
        states.iter().map(|state| state.weights.to_vec()).collect(),
        states.iter().map(|state| state.steps).collect(),
    );
    unstack(&op.apply(x, slopes, dt)?, states.len())
}

fn check(op: &'static str, x: &Tensor, slopes: &[&Tensor], dt: &Tensor) -> Result<Samples> {
    let samples = Samples::of(op, "x", x)?;
    if !(1..=MOST).contains(&slopes.len()) {
        return Err(value_error(
            op,
            "slopes",
            format!("{} tensors", slopes.len()),
            "one to four",
        ));
    }
    require_like(op, x, slopes.iter().map(|&slope| ("slopes", slope)))?;
    samples.require_scalars(op, "dt", dt, x)?;
    Ok(samples)
}

/// State j is `x − steps_j · dt · Σ_i weights_ji · slopes_i`, `[states, …]`.
///
/// As an operator of two operands it holds the slopes itself, as one of three it finds
/// them packed in the second.
#[derive(Clone)]
pub(super) struct States {
    op: &'static str,
    samples: Samples,
    weights: Vec<Vec<f64>>,
    steps: Vec<f64>,
    slopes: Vec<Tensor>,
}

impl States {
    pub(super) fn new(
        op: &'static str,
        samples: Samples,
        weights: Vec<Vec<f64>>,
        steps: Vec<f64>,
    ) -> Self {
        Self {
            op,
            samples,
            weights,
            steps,
            slopes: Vec::new(),
        }
    }

    pub(super) fn apply(mut self, x: &Tensor, slopes: &[&Tensor], dt: &Tensor) -> Result<Tensor> {
        let (x, dt) = (x.contiguous()?, dt.contiguous()?);
        if slopes.iter().any(|slope| slope.track_op()) {
            // Candle cannot stack empty views that begin beyond their storage.
            let whole = slopes.iter().map(|slope| crate::copy_strided(slope));
            let slopes = Tensor::stack(&whole.collect::<Result<Vec<_>>>()?, 0)?;
            return x.apply_op3(&slopes.contiguous()?, &dt, self);
        }
        // What counts in no state is not even kept.
        let counts = |slope: &usize| self.weights.iter().any(|weights| weights[*slope] != 0.0);
        let used: Vec<usize> = (0..slopes.len()).filter(counts).collect();
        for weights in &mut self.weights {
            *weights = used.iter().map(|&slope| weights[slope]).collect();
        }
        let used = used.into_iter().map(|slope| slopes[slope].contiguous());
        self.slopes = used.collect::<Result<_>>()?;
        x.apply_op2(&dt, self)
    }

    fn weights<T: Element>(&self) -> Vec<Vec<T>> {
        let of_state = |weights: &Vec<f64>| weights.iter().map(|&w| T::from_f64(w)).collect();
        self.weights.iter().map(of_state).collect()
    }

    fn forward<T: Element>(&self, x: &[T], slopes: &[&[T]], dt: &[T]) -> CpuStorage {
        let steps: Vec<T> = self.steps.iter().map(|&steps| T::from_f64(steps)).collect();
        let scales: Vec<T> = dt
            .iter()
            .flat_map(|&dt| steps.iter().map(move |&steps| steps * dt))
            .collect();
        T::to_cpu_storage_owned(cpu::states(
            x,
            slopes,
            &self.weights(),
            &scales,
            self.samples,
        ))
    }

    fn forward_any(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        packed: Option<(&CpuStorage, &Layout)>,
        (dt, dt_layout): (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        fn run<T: Element>(
            states: &States,
            (x, x_layout): (&CpuStorage, &Layout),
            packed: Option<(&CpuStorage, &Layout)>,
            (dt, dt_layout): (&CpuStorage, &Layout),
        ) -> Result<CpuStorage> {
            let x = slice::<T>(states.op, x, x_layout)?;
            let dt = slice(states.op, dt, dt_layout)?;
            match packed {
                Some((packed, layout)) => {
                    let packed = slice(states.op, packed, layout)?;
                    let slopes = parts(packed, states.weights[0].len());
                    Ok(states.forward(x, &slopes, dt))
                }
                None => with_slices(states.op, "slopes", &states.slopes, |slopes| {
                    Ok(states.forward(x, slopes, dt))
                }),
            }
        }
        let found = match x.dtype() {
            DType::F32 => run::<f32>(self, (x, x_layout), packed, (dt, dt_layout))?,
            DType::F64 => run::<f64>(self, (x, x_layout), packed, (dt, dt_layout))?,
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((found, stacked(self.steps.len(), x_layout)))
    }

    /// As the kernels take them.
    #[cfg(feature = "cuda")]
    fn on_device(&self) -> cuda::States<'_> {
        cuda::States {
            op: self.op,
            samples: self.samples,
            weights: &self.weights,
            steps: &self.steps,
        }
    }

    #[cfg(feature = "cuda")]
    fn forward_on_device(
        &self,
        (x, x_layout): (&CudaStorage, &Layout),
        packed: Option<(&CudaStorage, &Layout)>,
        (dt, dt_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let of_x = View::of(self.op, "x", x, x_layout)?;
        let dt = View::of(self.op, "dt", dt, dt_layout)?;
        let run = |slopes: &[View<'_, CudaStorage>]| {
            self.on_device().forward(x.device(), of_x, slopes, dt)
        };
        let found = match packed {
            Some((packed, layout)) => {
                let packed = View::of(self.op, "slopes", packed, layout)?;
                let length = self.samples.len();
                let slopes = 0..self.weights[0].len();
                let slopes: Vec<_> = slopes
                    .map(|slope| packed.narrow(slope * length, length))
                    .collect();
                run(&slopes)?
            }
            None => with_views(self.op, "slopes", &self.slopes, run)?,
        };
        Ok((found, stacked(self.steps.len(), x_layout)))
    }

    /// The gradients of x and of the packed slopes.
    fn backward(
        &self,
        of_x: bool,
        of_slopes: bool,
        dt: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = StateGradients {
            states: self.clone(),
            of_x,
            of_slopes,
        };
        if gradients.outputs() == 0 {
            return Ok((None, None));
        }
        let found = gradient.apply_op2_no_bwd(dt, &gradients)?;
        let first = usize::from(of_x);
        let of_x = of_x.then(|| found.get(0)).transpose()?;
        let slopes = gradients.outputs() - first;
        let of_slopes = of_slopes
            .then(|| found.narrow(0, first, slopes))
            .transpose()?;
        Ok((of_x, of_slopes))
    }
}

/// `packed` in `count` parts of one length.
fn parts<T>(packed: &[T], count: usize) -> Vec<&[T]> {
    let length = packed.len() / count.max(1);
    (0..count)
        .map(|part| &packed[part * length..(part + 1) * length])
        .collect()
}

impl CustomOp2 for States {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dt: &CpuStorage,
        dt_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward_any((x, x_layout), None, (dt, dt_layout))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        dt: &CudaStorage,
        dt_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_device((x, x_layout), None, (dt, dt_layout))
    }

    fn bwd(
        &self,
        x: &Tensor,
        dt: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (of_x, _) = self.backward(x.track_op(), false, dt, &gradient)?;
        let of_dt = dt
            .track_op()
            .then(|| gradient.apply_op1_no_bwd(&StepGradient(self.clone())))
            .transpose()?;
        Ok((of_x, of_dt))
    }
}

impl CustomOp3 for States {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
        dt: &CpuStorage,
        dt_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let packed = Some((packed, packed_layout));
        self.forward_any((x, x_layout), packed, (dt, dt_layout))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        packed: &CudaStorage,
        packed_layout: &Layout,
        dt: &CudaStorage,
        dt_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let packed = Some((packed, packed_layout));
        self.forward_on_device((x, x_layout), packed, (dt, dt_layout))
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        dt: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (of_x, of_slopes) = self.backward(x.track_op(), packed.track_op(), dt, &gradient)?;
        let of_dt = match dt.track_op() {
            true => {
                let mut held = self.clone();
                held.slopes = unstack(&packed.detach(), self.weights[0].len())?;
                Some(gradient.apply_op1_no_bwd(&StepGradient(held))?)
            }
            false => None,
        };
        Ok((of_x, of_slopes, of_dt))
    }
}

/// From the states' gradients ds_j: dx = Σ_j ds_j and dk_i = −dt Σ_j steps_j weights_ji ds_j,
/// those of them that are wanted, one after the other.
struct StateGradients {
    states: States,
    of_x: bool,
    of_slopes: bool,
}

impl StateGradients {
    fn outputs(&self) -> usize {
        let slopes = self.states.weights.first().map_or(0, Vec::len);
        usize::from(self.of_x) + if self.of_slopes { slopes } else { 0 }
    }

    /// The shape of all, from that of the states' gradients.
    fn shape(&self, layout: &Layout) -> Shape {
        Shape::from([&[self.outputs()], &layout.dims()[1..]].concat())
    }

    fn forward<T: Element>(&self, gradient: &[T], dt: &[T]) -> CpuStorage {
        let States {
            weights,
            steps,
            samples,
            ..
        } = &self.states;
        let slopes = weights.first().map_or(0, Vec::len);
        let row = |&dt: &T| -> Vec<T> {
            let of_x = self.of_x.then(|| vec![T::from_f64(1.0); steps.len()]);
            let of_slopes = (0..slopes).filter(|_| self.of_slopes).flat_map(|slope| {
                weights
                    .iter()
                    .zip(steps)
                    .map(move |(weights, steps)| T::from_f64(-steps * weights[slope]) * dt)
            });
            of_x.into_iter().flatten().chain(of_slopes).collect()
        };
        let table: Vec<T> = dt.iter().flat_map(row).collect();
        T::to_cpu_storage_owned(cpu::combine_flat(
            &parts(gradient, steps.len()),
            &table,
            self.outputs(),
            *samples,
        ))
    }
}

impl CustomOp2 for StateGradients {
    fn name(&self) -> &'static str {
        self.states.op
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        layout: &Layout,
        dt: &CpuStorage,
        dt_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let op = self.states.op;
        let found = match gradient.dtype() {
            DType::F32 => {
                self.forward::<f32>(slice(op, gradient, layout)?, slice(op, dt, dt_layout)?)
            }
            _ => self.forward::<f64>(slice(op, gradient, layout)?, slice(op, dt, dt_layout)?),
        };
        Ok((found, self.shape(layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        layout: &Layout,
        dt: &CudaStorage,
        dt_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let op = self.states.op;
        let slopes = self.outputs() - usize::from(self.of_x);
        let found = self.states.on_device().gradients(
            gradient.device(),
            View::of(op, "gradient", gradient, layout)?,
            View::of(op, "dt", dt, dt_layout)?,
            self.of_x,
            slopes,
        )?;
        Ok((found, self.shape(layout)))
    }
}

/// −Σ_j steps_j Σ_d ds_j · Σ_i weights_ji k_i of every sample, `[batch]`.
struct StepGradient(States);

impl StepGradient {
    fn forward<T: Element>(&self, gradient: &[T]) -> Result<CpuStorage> {
        let States {
            op,
            samples,
            steps,
            slopes,
            ..
        } = &self.0;
        let scales: Vec<f64> = steps.iter().map(|steps| -steps).collect();
        with_slices::<T, _>(op, "slopes", slopes, |slopes| {
            let gradients = parts(gradient, steps.len());
            let terms = cpu::terms(slopes, &self.0.weights());
            let sums = cpu::sample_products(&gradients, &terms, &scales, *samples);
            Ok(T::to_cpu_storage_owned(
                sums.into_iter().map(T::from_f64).collect(),
            ))
        })
    }
}

impl candle_core::CustomOp1 for StepGradient {
    fn name(&self) -> &'static str {
        self.0.op
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let op = self.0.op;
        let sums = match gradient.dtype() {
            DType::F32 => self.forward::<f32>(slice(op, gradient, layout)?)?,
            _ => self.forward::<f64>(slice(op, gradient, layout)?)?,
        };
        Ok((sums, Shape::from(self.0.samples.batch)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, gradient: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let States { op, slopes, .. } = &self.0;
        let steps: Vec<f64> = self.0.steps.iter().map(|steps| -steps).collect();
        let states = cuda::States {
            steps: &steps,
            ..self.0.on_device()
        };
        let of_states = View::of(op, "gradient", gradient, layout)?;
        let sums = with_views(op, "slopes", slopes, |slopes| {
            states.sample_products(gradient.device(), of_states, slopes)
        })?;
        Ok((sums, Shape::from(self.0.samples.batch)))
    }
}
