//! The parameters and buffers of a network, ordered by name, initialised from one seed.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::init::NormalOrUniform;
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use rand_distr::{Distribution, Normal, Uniform};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether a tensor is learnt by the optimiser or kept by its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has a gradient.
    Parameter,
    /// Running statistics, counters, fixed filters.
    Buffer,
}

impl Role {
    /// PyTorch's naming decides: `running_mean`, `running_var`, `num_batches_tracked` and EDM's `resample_filter` are buffers.
    pub fn of(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some("running_mean" | "running_var" | "num_batches_tracked" | "resample_filter") => {
                Self::Buffer
            }
            _ => Self::Parameter,
        }
    }
}

/// What can go wrong when tensors are put into a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store's network has no tensor of that name.
    #[error("tensor {name}: the network has none of that name")]
    Unknown {
        /// The name looked for.
        name: String,
    },
    /// Same name, other shape.
    #[error("tensor {name}: found shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// Shape offered.
        found: Vec<usize>,
        /// Shape of the network's tensor.
        expected: Vec<usize>,
    },
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Owns a network's tensors. Clones share them.
///
/// A network built with [`var_builder`](Self::var_builder) learns; one built from the same
/// store with [`frozen`](Self::frozen) shares the storage, follows every update and keeps no graph.
#[derive(Clone)]
pub struct ParameterStore {
    seed: u64,
    device: Device,
    tensors: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl std::fmt::Debug for ParameterStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParameterStore({} tensors)", self.lock().len())
    }
}

impl ParameterStore {
    /// An empty store; a tensor's initial value depends on `seed`, its name and its hint only.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            seed,
            device: device.clone(),
            tensors: Arc::default(),
        }
    }

    /// A store that holds copies of `state`, as read from a file.
    pub fn from_state(state: &BTreeMap<String, Tensor>, device: &Device) -> Result<Self> {
        let store = Self::new(0, device);
        for (name, tensor) in state {
            store.insert(name, tensor)?;
        }
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds networks whose missing tensors are made and initialised here.
    pub fn var_builder(&self, dtype: DType) -> VarBuilder<'static> {
        let backend = Access {
            store: self.clone(),
            frozen: false,
        };
        VarBuilder::from_backend(Box::new(backend), dtype, self.device.clone())
    }

    /// Builds networks for evaluation over the same storage; a missing tensor is an error.
    pub fn frozen(&self, dtype: DType) -> VarBuilder<'static> {
        let backend = Access {
            store: self.clone(),
            frozen: true,
        };
        VarBuilder::from_backend(Box::new(backend), dtype, self.device.clone())
    }

    /// What the optimiser moves, ordered by name.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        self.of_role(Role::Parameter)
    }

    /// What the layers keep, ordered by name.
    pub fn buffers(&self) -> Vec<(String, Var)> {
        self.of_role(Role::Buffer)
    }

    fn of_role(&self, role: Role) -> Vec<(String, Var)> {
        let tensors = self.lock();
        tensors
            .iter()
            .filter(|(name, _)| Role::of(name) == role)
            .map(|(name, var)| (name.clone(), var.clone()))
            .collect()
    }

    /// One tensor, sharing the store's storage, without gradient.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.lock().get(name).map(|var| var.as_tensor().detach())
    }

    /// The whole state, ordered by name, sharing the store's storage.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let tensors = self.lock();
        tensors
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().detach()))
            .collect()
    }

    /// Overwrites one tensor in place; its dtype is kept.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Shape`].
    pub fn set(&self, name: &str, value: &Tensor) -> std::result::Result<(), StoreError> {
        let tensors = self.lock();
        let var = tensors.get(name).ok_or_else(|| StoreError::Unknown {
            name: name.to_string(),
        })?;
        if var.dims() != value.dims() {
            return Err(StoreError::Shape {
                name: name.to_string(),
                found: value.dims().to_vec(),
                expected: var.dims().to_vec(),
            });
        }
        let value = value.detach().to_device(&self.device)?;
        // `Var::set` wants another storage; `copy` also makes views contiguous.
        var.set(&value.to_dtype(var.dtype())?.copy()?)?;
        Ok(())
    }

    /// Puts a tensor in, replacing one of that name: for stores that are filled from a file.
    pub fn insert(&self, name: &str, value: &Tensor) -> Result<()> {
        let var = Var::from_tensor(&value.detach().to_device(&self.device)?.copy()?)?;
        self.lock().insert(name.to_string(), var);
        Ok(())
    }
}

struct Access {
    store: ParameterStore,
    frozen: bool,
}

impl Access {
    fn give(&self, var: &Var, dtype: DType) -> Result<Tensor> {
        let tensor = if self.frozen {
            var.as_tensor().detach()
        } else {
            var.as_tensor().clone()
        };
        // A cast would cut a learning network from its parameters: only frozen ones may ask.
        if self.frozen {
            tensor.to_dtype(dtype)
        } else {
            Ok(tensor)
        }
    }
}

impl SimpleBackend for Access {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        hint: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut tensors = self.store.lock();
        if let Some(var) = tensors.get(name) {
            if var.shape() != &shape {
                candle_core::bail!(
                    "tensor {name}: found shape {:?}, the network needs {:?}",
                    var.dims(),
                    shape.dims()
                );
            }
            return self.give(var, dtype);
        }
        if self.frozen {
            candle_core::bail!(
                "tensor {name}: missing, the network needs {:?}",
                shape.dims()
            );
        }
        let var = Var::from_tensor(&initial(
            self.store.seed,
            name,
            &shape,
            hint,
            dtype,
            device,
        )?)?;
        let tensor = var.as_tensor().clone();
        tensors.insert(name.to_string(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _device: &Device) -> Result<Tensor> {
        match self.store.lock().get(name) {
            Some(var) => self.give(var, dtype),
            None => candle_core::bail!("tensor {name}: missing"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.store.lock().contains_key(name)
    }
}

/// The initial value of a tensor, drawn from the stream of (`seed`, `name`).
fn initial(
    seed: u64,
    name: &str,
    shape: &Shape,
    hint: Init,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let count = shape.elem_count();
    let mut random = taper_kernels::random::stream(seed, name, 0);
    let mut normal = |mean: f64, stdev: f64| -> Result<Vec<f64>> {
        let law = Normal::new(mean, stdev).map_err(candle_core::Error::wrap)?;
        Ok(law.sample_iter(&mut random).take(count).collect())
    };
    let values = match hint {
        Init::Const(value) => vec![value; count],
        Init::Randn { mean, stdev } => normal(mean, stdev)?,
        Init::Uniform { lo, up } => uniform(seed, name, lo, up, count)?,
        Init::Kaiming {
            dist,
            fan,
            non_linearity,
        } => {
            let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => normal(0.0, stdev)?,
                NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * stdev;
                    uniform(seed, name, -bound, bound, count)?
                }
            }
        }
    };
    Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
}

fn uniform(seed: u64, name: &str, low: f64, high: f64, count: usize) -> Result<Vec<f64>> {
    let mut random = taper_kernels::random::stream(seed, name, 0);
    let law = Uniform::new_inclusive(low, high).map_err(candle_core::Error::wrap)?;
    Ok(law.sample_iter(&mut random).take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_seed() -> Result<()> {
        let make = |seed| -> Result<_> {
            let store = ParameterStore::new(seed, &Device::Cpu);
            let vb = store.var_builder(DType::F32);
            vb.get_with_hints(4, "z.weight", crate::init::normal(1.0))?;
            vb.get_with_hints(4, "a.running_var", Init::Const(1.0))?;
            vb.get_with_hints(4, "b.weight", crate::init::default_uniform(4))?;
            Ok(store)
        };
        let (first, again, other) = (make(1)?, make(1)?, make(2)?);
        let names: Vec<_> = first
            .parameters()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["b.weight", "z.weight"]);
        assert_eq!(first.buffers()[0].0, "a.running_var");
        let value = |store: &ParameterStore| store.get("z.weight").unwrap().to_vec1::<f32>();
        assert_eq!(value(&first)?, value(&again)?);
        assert_ne!(value(&first)?, value(&other)?);
        Ok(())
    }

    #[test]
    fn a_frozen_twin_follows() -> Result<()> {
        let store = ParameterStore::new(0, &Device::Cpu);
        let learning = store.var_builder(DType::F32).get(2, "w")?;
        let twin = store.frozen(DType::F32).get(2, "w")?;
        assert!(learning.is_variable() && !twin.track_op());
        let new = Tensor::new(&[3f32, 4.], &Device::Cpu)?;
        store.set("w", &new).unwrap();
        assert_eq!(twin.to_vec1::<f32>()?, [3., 4.]);
        assert!(matches!(
            store.set("w", &new.narrow(0, 0, 1)?),
            Err(StoreError::Shape { .. })
        ));
        assert!(matches!(
            store.set("v", &new),
            Err(StoreError::Unknown { .. })
        ));
        assert!(store.frozen(DType::F32).get(3, "w").is_err());
        Ok(())
    }
}
