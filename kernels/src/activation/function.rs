//! The table of elementwise functions: of each, its value and its derivative.

use crate::element::{Element, masked, positive};

/// An elementwise function with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Relu,
    LeakyRelu { slope: f64 },
    Elu { alpha: f64, scale: f64 },
    Relu6,
    HardSigmoid,
    HardSwish,
    Sigmoid,
    Tanh,
    Softplus,
    Silu,
    Mish,
    Gelu,
    GeluTanh,
}

/// A pass over memory that is told what to compute.
pub(super) trait Visitor<T> {
    /// * `value`: x to f(x)
    /// * `gradient`: (what the function saves, the gradient g of its result) to g · f′(x)
    fn visit(
        self,
        value: impl Fn(T) -> T + Copy + Sync,
        gradient: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Vec<T>;
}

impl Function {
    /// The public function's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Elu { .. } => "elu",
            Self::Relu6 => "relu6",
            Self::HardSigmoid => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Softplus => "softplus",
            Self::Silu => "silu",
            Self::Mish => "mish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
        }
    }

    /// The constants that the kernels on a GPU take.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn constants(self) -> [f64; 2] {
        match self {
            Self::LeakyRelu { slope } => [slope, 0.0],
            Self::Elu { alpha, scale } => [scale * alpha, scale],
            _ => [0.0; 2],
        }
    }

    /// Whether the derivative is written in terms of the result rather than of x.
    pub(super) fn saves_result(self) -> bool {
        matches!(self, Self::Relu | Self::Relu6 | Self::Sigmoid | Self::Tanh)
    }

    /// Hands the function's value and derivative to `visitor`. Conventions at kinks and
    /// for NaN are PyTorch's.
    pub(super) fn visit<T: Element>(self, visitor: impl Visitor<T>) -> Vec<T> {
        let c = T::from_f64;
        let (zero, half, one, two) = (c(0.0), c(0.5), c(1.0), c(2.0));
        match self {
            Self::Relu => visitor.visit(positive, masked),
            Self::LeakyRelu { slope } => {
                let slope = c(slope);
                visitor.visit(
                    move |x| if x > zero { x } else { x * slope },
                    move |x, g| if x > zero { g } else { g * slope },
                )
            }
            // scale · x above 0, scale · alpha (eˣ − 1) below; e²ᵗ − 1 = 2 tanh t / (1 − tanh t).
            Self::Elu { alpha, scale } => {
                let (scale, below) = (c(scale), c(scale * alpha));
                visitor.visit(
                    move |x| {
                        let t = (x * half).tanh();
                        if x > zero {
                            scale * x
                        } else {
                            below * (two * t / (one - t))
                        }
                    },
                    move |x, g| {
                        if x > zero {
                            g * scale
                        } else {
                            g * (below * x.exp())
                        }
                    },
                )
            }
            Self::Relu6 => {
                let six = c(6.0);
                visitor.visit(
                    move |x| clamp(x, zero, six),
                    move |y, g| if y > zero && y < six { g } else { zero },
                )
            }
            Self::HardSigmoid => {
                let (three, six) = (c(3.0), c(6.0));
                visitor.visit(
                    move |x| clamp(x + three, zero, six) / six,
                    move |x, g| {
                        if x > zero - three && x < three {
                            g / six
                        } else {
                            zero
                        }
                    },
                )
            }
            Self::HardSwish => {
                let (three, six) = (c(3.0), c(6.0));
                visitor.visit(
                    move |x| x * clamp(x + three, zero, six) / six,
                    move |x, g| {
                        let between = g * (x / three + half);
                        let below = if x <= zero - three { zero } else { between };
                        if x >= three { g } else { below }
                    },
                )
            }
            Self::Sigmoid => visitor.visit(T::sigmoid, move |y, g| g * (y * (one - y))),
            Self::Tanh => visitor.visit(T::tanh, move |y, g| g * (one - y * y)),
            Self::Softplus => visitor.visit(softplus, move |x, g| g * x.sigmoid()),
            Self::Silu => visitor.visit(
                move |x| x * x.sigmoid(),
                move |x, g| {
                    let s = x.sigmoid();
                    g * (s * (one + x * (one - s)))
                },
            ),
            // With e = eˣ and n = e (e + 2): tanh ln(1 + e) = n / (n + 2); 1 from 20 on.
            Self::Mish => {
                let bound = c(20.0);
                let power = move |x: T| (if x > bound { bound } else { x }).exp();
                visitor.visit(
                    move |x| {
                        let e = power(x);
                        let n = e * (e + two);
                        x * (n / (n + two))
                    },
                    move |x, g| {
                        let e = power(x);
                        let n = e * (e + two);
                        let rest = two / (n + two);
                        let rise = rest * rest * (e * (e + one));
                        g * (n / (n + two) + x * if x > bound { zero } else { rise })
                    },
                )
            }
            Self::Gelu => visitor.visit(
                move |x| x * x.normal().0,
                move |x, g| {
                    let (distribution, density) = x.normal();
                    g * (distribution + x * density)
                },
            ),
            // ½ (1 + tanh z) = sigmoid 2z with 2z = √(8/π) (x + 0.044715 x³)
            Self::GeluTanh => {
                let factor = (8.0 / std::f64::consts::PI).sqrt();
                let (linear, cubic) = (c(factor), c(factor * 0.044_715));
                let slope_cubic = c(3.0 * factor * 0.044_715);
                visitor.visit(
                    move |x| x * (x * (linear + cubic * (x * x))).sigmoid(),
                    move |x, g| {
                        let s = (x * (linear + cubic * (x * x))).sigmoid();
                        let slope = linear + slope_cubic * (x * x);
                        g * (s + x * (s * (one - s)) * slope)
                    },
                )
            }
        }
    }
}

/// x within `low … high`; NaN stays.
#[inline(always)]
fn clamp<T: Element>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|). A function, since as a closure it is too large to be inlined.
#[inline(always)]
fn softplus<T: Element>(x: T) -> T {
    let zero = T::from_f64(0.0);
    let size = if x < zero { x } else { zero - x };
    let above = if x < zero { zero } else { x };
    above + size.exp().ln_1p()
}
