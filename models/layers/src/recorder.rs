//! Lists the tensors that a network asks for, without making them.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Name, type and shape of one tensor of a network's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Dotted path, as in PyTorch's state dict.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
}

/// A `VarBuilder` source that writes down each request and answers with a broadcast zero.
#[derive(Debug, Clone, Default)]
pub struct ShapeRecorder {
    tensors: Arc<Mutex<BTreeMap<String, TensorInfo>>>,
}

impl ShapeRecorder {
    /// The builder to give to a network's constructor.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, Device::Cpu)
    }

    /// What has been asked for, ordered by name.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        tensors.values().cloned().collect()
    }
}

impl SimpleBackend for ShapeRecorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _hint: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let info = TensorInfo {
            name: name.to_string(),
            dtype,
            shape: shape.dims().to_vec(),
        };
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        tensors.insert(name.to_string(), info);
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        candle_core::bail!("tensor {name}: asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        tensors.contains_key(name)
    }
}
