//! The state between data and noise, and the velocity along the line.

#[cfg(feature = "cuda")]
use super::cuda;
use super::{Samples, cpu, require_like, stacked, unstack};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor,
};
use std::sync::{Arc, Mutex, PoisonError};

const OP: &str = "interpolate";

/// `x_t = t z + (1 − t) x` and the velocity `g = z − x` along the line, in one pass.
///
/// * `x` (data, at t = 0), `z` (noise, at t = 1): `[batch, …]`
/// * `t`: `[batch]`, of type `f64` where x is `f64`, else `f32`
///
/// Differentiable in all three: dx = (1 − t) dx_t − dg, dz = t dx_t + dg, and dt is the
/// sum of g · dx_t over a sample. x_0 is x and x_1 is z exactly. Reads x and z, writes
/// x_t and g: 16 bytes an element in `f32`. The line of rectified flow (Liu et al. 2022,
/// arXiv:2209.03003).
///
/// # Errors
/// If a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu);
/// let t = Tensor::new(&[0.25f32], &Device::Cpu)?;
/// let (x_t, g) = taper_kernels::interpolate(&tensor(2.)?, &tensor(6.)?, &t)?;
/// assert_eq!((x_t.to_vec2::<f32>()?, g.to_vec2::<f32>()?), (vec![vec![3.]], vec![vec![4.]]));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn interpolate(x: &Tensor, z: &Tensor, t: &Tensor) -> Result<(Tensor, Tensor)> {
    let samples = check(x, z, t)?;
    let (x, z, t) = (x.contiguous()?, z.contiguous()?, t.contiguous()?);
    let difference = Arc::new(Mutex::new(None));
    let op = Interpolate {
        samples,
        difference: Some(difference.clone()),
    };
    let state = x.apply_op3(&z, &t, op)?;
    Ok((state, x.apply_op2(&z, Difference(difference))?))
}

/// `x_t = t z + (1 − t) x` alone; see [`interpolate`]. 12 bytes an element in `f32`.
///
/// # Errors
/// If a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu);
/// let t = Tensor::new(&[0.25f32], &Device::Cpu)?;
/// let x_t = taper_kernels::interpolate_state(&tensor(2.)?, &tensor(6.)?, &t)?;
/// assert_eq!(x_t.to_vec2::<f32>()?, [[3.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn interpolate_state(x: &Tensor, z: &Tensor, t: &Tensor) -> Result<Tensor> {
    let op = Interpolate {
        samples: check(x, z, t)?,
        difference: None,
    };
    x.contiguous()?
        .apply_op3(&z.contiguous()?, &t.contiguous()?, op)
}

fn check(x: &Tensor, z: &Tensor, t: &Tensor) -> Result<Samples> {
    let samples = Samples::of(OP, "x", x)?;
    require_like(OP, x, [("z", z)])?;
    samples.require_scalars(OP, "t", t, x)?;
    Ok(samples)
}

/// Carries one storage from the operator that computes it to the one that returns it.
type Slot = Arc<Mutex<Option<Storage>>>;

fn leave(slot: &Slot, storage: Storage) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(storage);
}

struct Interpolate {
    samples: Samples,
    /// Where g is left for [`Difference`], if it is wanted.
    difference: Option<Slot>,
}

impl Interpolate {
    fn forward<T: Element>(&self, x: &[T], z: &[T], t: &[T]) -> CpuStorage {
        let one = T::from_f64(1.0);
        let Some(difference) = &self.difference else {
            let table: Vec<T> = t.iter().flat_map(|&t| [t, one - t]).collect();
            let [state] = cpu::combine([z, x], &table, self.samples);
            return T::to_cpu_storage_owned(state);
        };
        let row = |&t: &T| [t, one - t, one, T::from_f64(-1.0)];
        let table: Vec<T> = t.iter().flat_map(row).collect();
        let [state, velocity] = cpu::combine([z, x], &table, self.samples);
        leave(difference, Storage::Cpu(T::to_cpu_storage_owned(velocity)));
        T::to_cpu_storage_owned(state)
    }
}

impl CustomOp3 for Interpolate {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
        t: &CpuStorage,
        t_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let state = match x.dtype() {
            DType::F32 => self.forward::<f32>(
                slice(OP, x, x_layout)?,
                slice(OP, z, z_layout)?,
                slice(OP, t, t_layout)?,
            ),
            DType::F64 => self.forward::<f64>(
                slice(OP, x, x_layout)?,
                slice(OP, z, z_layout)?,
                slice(OP, t, t_layout)?,
            ),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((state, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        z: &CudaStorage,
        z_layout: &Layout,
        t: &CudaStorage,
        t_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (state, velocity) = cuda::interpolate(
            x.device(),
            View::of(OP, "x", x, x_layout)?,
            View::of(OP, "z", z, z_layout)?,
            View::of(OP, "t", t, t_layout)?,
            self.samples,
            self.difference.is_some(),
        )?;
        if let (Some(difference), Some(velocity)) = (&self.difference, velocity) {
            leave(difference, Storage::Cuda(velocity));
        }
        Ok((state, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        z: &Tensor,
        t: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let ends = EndGradients {
            samples: self.samples,
            of_x: x.track_op(),
            of_z: z.track_op(),
        };
        let mut found = match ends.outputs() {
            0 => Vec::new(),
            count => unstack(&gradient.apply_op2_no_bwd(t, &ends)?, count)?,
        }
        .into_iter();
        let of_t = match t.track_op() {
            true => Some(gradient.apply_op3_no_bwd(x, z, &TimeGradient(self.samples))?),
            false => None,
        };
        Ok((
            ends.of_x.then(|| found.next()).flatten(),
            ends.of_z.then(|| found.next()).flatten(),
            of_t,
        ))
    }
}

/// g = z − x, which [`Interpolate`] has computed already.
struct Difference(Slot);

impl Difference {
    fn take(&self) -> Result<Storage> {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        left.ok_or_else(|| {
            candle_core::Error::msg("interpolate: the velocity was handed out before")
        })
    }
}

impl CustomOp2 for Difference {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            Storage::Cpu(storage) => Ok((storage, layout.shape().clone())),
            _ => candle_core::bail!("{OP}: the velocity lies on another device than x"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            Storage::Cuda(storage) => Ok((storage, layout.shape().clone())),
            _ => candle_core::bail!("{OP}: the velocity lies on another device than x"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        z: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_x = match x.track_op() {
            true => Some(gradient.neg()?),
            false => None,
        };
        Ok((of_x, z.track_op().then(|| gradient.clone())))
    }
}

/// From dx_t and t: (1 − t) dx_t and t dx_t, those of them that are wanted, `[1 or 2, batch, …]`.
struct EndGradients {
    samples: Samples,
    of_x: bool,
    of_z: bool,
}

impl EndGradients {
    fn outputs(&self) -> usize {
        usize::from(self.of_x) + usize::from(self.of_z)
    }

    fn forward<T: Element>(&self, gradient: &[T], t: &[T]) -> Vec<T> {
        let wanted = |t: T| {
            let of_x = self.of_x.then_some(T::from_f64(1.0) - t);
            of_x.into_iter().chain(self.of_z.then_some(t))
        };
        let table: Vec<T> = t.iter().flat_map(|&t| wanted(t)).collect();
        cpu::combine_flat(&[gradient], &table, self.outputs(), self.samples)
    }
}

impl CustomOp2 for EndGradients {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        layout: &Layout,
        t: &CpuStorage,
        t_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let found = match gradient.dtype() {
            DType::F32 => {
                CpuStorage::F32(self.forward(slice(OP, gradient, layout)?, slice(OP, t, t_layout)?))
            }
            _ => {
                CpuStorage::F64(self.forward(slice(OP, gradient, layout)?, slice(OP, t, t_layout)?))
            }
        };
        Ok((found, stacked(self.outputs(), layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        layout: &Layout,
        t: &CudaStorage,
        t_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let found = cuda::interpolate_gradients(
            gradient.device(),
            View::of(OP, "gradient", gradient, layout)?,
            View::of(OP, "t", t, t_layout)?,
            self.samples,
            (self.of_x, self.of_z),
        )?;
        Ok((found, stacked(self.outputs(), layout)))
    }
}

/// Σ (z − x) · dx_t over every sample, `[batch]`.
struct TimeGradient(Samples);

impl TimeGradient {
    fn forward<T: Element>(&self, gradient: &[T], x: &[T], z: &[T]) -> CpuStorage {
        let terms = vec![(z, T::from_f64(1.0)), (x, T::from_f64(-1.0))];
        let sums = cpu::sample_products(&[gradient], &[terms], &[1.0], self.0);
        T::to_cpu_storage_owned(sums.into_iter().map(T::from_f64).collect())
    }
}

impl CustomOp3 for TimeGradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sums = match x.dtype() {
            DType::F32 => self.forward::<f32>(
                slice(OP, gradient, gradient_layout)?,
                slice(OP, x, x_layout)?,
                slice(OP, z, z_layout)?,
            ),
            _ => self.forward::<f64>(
                slice(OP, gradient, gradient_layout)?,
                slice(OP, x, x_layout)?,
                slice(OP, z, z_layout)?,
            ),
        };
        Ok((sums, Shape::from(self.0.batch)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
        z: &CudaStorage,
        z_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let difference = cuda::States {
            op: OP,
            samples: self.0,
            weights: &[vec![1.0, -1.0]],
            steps: &[1.0],
        };
        let ends = [
            View::of(OP, "z", z, z_layout)?,
            View::of(OP, "x", x, x_layout)?,
        ];
        let gradient = View::of(OP, "gradient", gradient, gradient_layout)?;
        let sums = difference.sample_products(x.device(), gradient, &ends)?;
        Ok((sums, Shape::from(self.0.batch)))
    }
}
