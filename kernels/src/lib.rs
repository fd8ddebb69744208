//! Hand-written differentiable operators on Candle tensors.
//!
//! One folder an operator: `mod.rs` is the public function and its derivative,
//! `cpu.rs` the specification and the fast CPU code. Candle's own operators of the
//! same names are wrong, cut the gradient or are slow where training needs them.

mod activation;
mod add_channels;
mod add_scaled;
mod avg_pool2d;
mod axis;
mod batch_norm;
mod binary_cross_entropy;
mod block_run;
mod conv1d;
pub mod conv2d;
mod conv_bn_act;
mod conv_transpose1d;
mod copy_strided;
mod cross_entropy;
mod ctc_loss;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod dropout;
mod element;
mod elementwise;
mod error;
mod gather;
mod glu;
mod gpu;
mod join_channels;
mod kept;
mod linear;
pub mod machine;
mod math;
mod max_axis;
mod max_pool2d;
pub mod memory;
mod operand;
mod optimiser;
mod output;
mod pool1d;
mod pool2d;
pub mod random;
mod resize;
mod rk_step;
mod row_norm;
mod scatter;
mod scratch;
mod segment_match;
mod simd;
mod softmax;
mod sum_axes;
pub mod testing;
pub mod threads;
mod unfold;
mod vector;

pub use activation::{
    Activation, add_relu, elu, gelu, gelu_tanh, hard_sigmoid, hard_swish, leaky_relu, mish, relu,
    relu6, selu, sigmoid, silu, softplus, tanh,
};
pub use add_channels::add_channels;
pub use add_scaled::add_scaled;
pub use avg_pool2d::{adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d};
pub use batch_norm::{BatchStatistics, batch_norm_eval, batch_norm_train};
pub use binary_cross_entropy::binary_cross_entropy_with_logits;
pub use block_run::{Norm as BlockNorm, Unit as BlockUnit, View as BlockView, block_run};
pub use conv_transpose1d::{ConvTranspose1dGeometry, conv_transpose1d};
pub use conv1d::{Conv1dGeometry, conv1d, conv1d_input_gradient, conv1d_weight_gradient};
pub use copy_strided::{copy_strided, permute};
pub use cross_entropy::cross_entropy;
pub use ctc_loss::{CtcOptions, CtcReduction, ctc_loss};
pub use dropout::dropout;
pub use error::KernelError;
pub use gather::{embedding, gather, index_select};
pub use glu::glu;
pub use gpu::{CompiledFor, CudaGpu, CudaReport, cuda_or_cpu, cuda_report};
pub use join_channels::join_channels;
pub use linear::linear;
pub use max_axis::max_axis;
pub use max_pool2d::max_pool2d;
pub use optimiser::{AdamWHyper, SgdHyper, adamw_step, ema_step, sgd_step, squared_norm};
pub use pool1d::{Pool1dGeometry, adaptive_avg_pool1d, avg_pool1d, max_pool1d};
pub use pool2d::Pool2dGeometry;
pub use resize::{resize_bilinear2d, resize_nearest1d, resize_nearest2d};
pub use rk_step::{
    CatchUpWeights, SamplerStep, Stage, StageRule, catchup_loss, interpolate, interpolate_state,
    rk_stage, rk_step, sampler_update, sampler_update_with_estimate,
};
pub use row_norm::{group_norm, group_norm_silu, layer_norm};
pub use scatter::{scatter, scatter_add};
pub use segment_match::segment_match;
pub use softmax::{log_softmax, softmax};
pub use sum_axes::sum_axes;
pub use unfold::unfold;

pub use conv_bn_act::{conv_bias_act, conv_bn_act, fold_batch_norm};
pub use conv2d::{
    Conv2dGeometry, conv2d, conv2d_input_gradient, conv2d_weight_gradient, exact, set_exact,
};
