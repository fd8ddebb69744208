//! Elementwise activations, alone and after an addition.

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod function;
mod op;

use crate::operand::{require_dtype, require_float, require_shape};
use candle_core::{Result, Tensor};
use function::Function;
use op::{AddRelu, Elementwise};

/// What an operator applies to its result before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0), derivative 0 at 0.
    Relu,
}

fn apply(x: &Tensor, function: Function) -> Result<Tensor> {
    require_float(function.name(), "x", x)?;
    x.contiguous()?.apply_op1(Elementwise(function))
}

/// `max(x, 0)` for every element; any shape.
///
/// As PyTorch has it: the derivative at 0 is 0, NaN stays NaN. Reads x once,
/// writes the result once; the derivative reads the result and its gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::relu(&x)?.to_vec1::<f32>()?, [0., 0., 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Relu)
}

/// `max(a + b, 0)` for every element, in one pass; `a` and `b` of one shape.
///
/// # Errors
/// If the shapes or types differ, or the type is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[-1f32, 1.], &Device::Cpu)?;
/// let b = Tensor::new(&[-2f32, 2.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::add_relu(&a, &b)?.to_vec1::<f32>()?, [0., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    require_float("add_relu", "a", a)?;
    require_dtype("add_relu", "b", b, a.dtype())?;
    require_shape("add_relu", "b", b, a.dims())?;
    a.contiguous()?.apply_op2(&b.contiguous()?, AddRelu)
}

/// `x` where x is positive, `slope · x` elsewhere; any shape.
///
/// As PyTorch's `leaky_relu`, whose derivative at 0 is the slope. Reads x once, writes the
/// result once; the derivative reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-2f64, 3.], &Device::Cpu)?;
/// let y = taper_kernels::leaky_relu(&x, 0.25)?.to_vec1::<f64>()?;
/// assert_eq!(y, [-0.5, 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    apply(x, Function::LeakyRelu { slope })
}

/// `x` where x is positive, `alpha · (eˣ − 1)` elsewhere; any shape.
///
/// Clevert et al. 2016, equation 15. Reads x once, writes the result once; the derivative
/// reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[f64::NEG_INFINITY, 3.], &Device::Cpu)?;
/// let y = taper_kernels::elu(&x, 0.5)?.to_vec1::<f64>()?;
/// assert_eq!(y, [-0.5, 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn elu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    apply(x, Function::Elu { alpha, scale: 1.0 })
}

/// λ and α of [`selu`]: the fixed point of mean 0 and variance 1 (Klambauer et al. 2017, equation 14).
const SELU: Function = Function::Elu {
    alpha: 1.673_263_242_354_377_2,
    scale: 1.050_700_987_355_480_5,
};

/// [`elu`] with α ≈ 1.6733, times λ ≈ 1.0507: keeps mean 0 and variance 1; any shape.
///
/// Klambauer et al. 2017, equation 2. Reads x once, writes the result once; the derivative
/// reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1.], &Device::Cpu)?;
/// let y = taper_kernels::selu(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1.050_700_987_355_480_5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn selu(x: &Tensor) -> Result<Tensor> {
    apply(x, SELU)
}

/// `min(max(x, 0), 6)`; any shape.
///
/// As PyTorch has it, the derivative at 0 and at 6 is 0. Reads x once, writes the result
/// once; the derivative reads the result and its gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f64, 2., 7.], &Device::Cpu)?;
/// let y = taper_kernels::relu6(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 2., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Relu6)
}

/// `relu6(x + 3) / 6`; any shape.
///
/// PyTorch's `hardsigmoid`, with derivative 0 at ±3. Reads x once, writes the result once;
/// the derivative reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-4f64, 0., 3.], &Device::Cpu)?;
/// let y = taper_kernels::hard_sigmoid(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 0.5, 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::HardSigmoid)
}

/// `x · relu6(x + 3) / 6`; any shape.
///
/// Howard et al. 2019, section 5.2; PyTorch's `hardswish`. Reads x once, writes the result
/// once; the derivative reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-4f64, 0., 4.], &Device::Cpu)?;
/// let y = taper_kernels::hard_swish(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 0., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn hard_swish(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::HardSwish)
}

/// `1 / (1 + e⁻ˣ)`; any shape.
///
/// Reads x once, writes the result once; the derivative `y (1 − y)` reads the result and
/// its gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::sigmoid(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0.5, 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Sigmoid)
}

/// The hyperbolic tangent; any shape.
///
/// Reads x once, writes the result once; the derivative `1 − y²` reads the result and its
/// gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::tanh(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Tanh)
}

/// `ln(1 + eˣ)`, never overflowing; any shape.
///
/// Its negative at −x is the logarithm of the sigmoid, so `softplus(x) − x · target` is the
/// binary cross-entropy of a logit. Reads x once, writes the result once; the derivative,
/// the sigmoid, reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::softplus(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [2f64.ln(), 1e3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Softplus)
}

/// `x · sigmoid(x)`, the swish; any shape.
///
/// Elfwing et al. 2018; Ramachandran et al. 2017. Reads x once, writes the result once; the
/// derivative reads x and the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::silu(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1e3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Silu)
}

/// `x · tanh(ln(1 + eˣ))`; any shape.
///
/// Misra 2020. Reads x once, writes the result once; the derivative reads x and the result's
/// gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::mish(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1e3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn mish(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Mish)
}

/// `x · Φ(x)` with Φ the standard normal distribution function; any shape.
///
/// Hendrycks and Gimpel 2016; PyTorch's `gelu` with `approximate='none'`. The derivative is
/// exact: `Φ(x) + x φ(x)`. Reads x once, writes the result once; the derivative reads x and
/// the result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::gelu(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1e3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::Gelu)
}

/// `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of [`gelu`]; any shape.
///
/// Hendrycks and Gimpel 2016, section 2; PyTorch's `gelu` with `approximate='tanh'`, with its
/// own exact derivative. Reads x once, writes the result once; the derivative reads x and the
/// result's gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, 1e3], &Device::Cpu)?;
/// let y = taper_kernels::gelu_tanh(&x)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 1e3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply(x, Function::GeluTanh)
}
