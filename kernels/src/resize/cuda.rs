//! Resizing on a GPU.

use super::axis::scale;
use super::{Method, Sizes};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// What `resize.cu` calls the methods.
fn number(method: Method) -> i32 {
    match method {
        Method::Nearest => 0,
        Method::Bilinear {
            align_corners: false,
        } => 1,
        Method::Bilinear {
            align_corners: true,
        } => 2,
    }
}

/// Rows and columns of input and output, the method, and the steps along rows and columns in the
/// type of number that the kernel computes in.
fn axes<'a, M>(dtype: DType, sizes: &Sizes, method: Method) -> Result<[Argument<'a, M>; 7]> {
    let align_corners = matches!(
        method,
        Method::Bilinear {
            align_corners: true
        }
    );
    let step = |input, output| match dtype {
        DType::F64 => scale::<f64>(input, output, align_corners),
        _ => scale::<f32>(input, output, align_corners).into(),
    };
    Ok([
        Argument::int(sizes.input.0)?,
        Argument::int(sizes.input.1)?,
        Argument::int(sizes.output.0)?,
        Argument::int(sizes.output.1)?,
        Argument::Int(number(method)),
        Argument::Real(step(sizes.input.0, sizes.output.0)),
        Argument::Real(step(sizes.input.1, sizes.output.1)),
    ])
}

/// The resized planes.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    op: &'static str,
    x: View<'_, G::Memory>,
    sizes: &Sizes,
    method: Method,
) -> Result<G::Memory> {
    let dtype = x.dtype;
    let name = format!("resize_{}", suffix(op, "x", dtype)?);
    let length = sizes.planes * sizes.output.0 * sizes.output.1;
    let mut y = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(y);
    }
    let planes = Argument::size(sizes.planes);
    let mut arguments = vec![Argument::Read(x), Argument::write(&mut y), planes];
    arguments.extend(axes(dtype, sizes, method)?);
    launch(gpu, &name, length, &mut arguments)?;
    Ok(y)
}

/// dx from the result's gradient. Workspace: 4 bytes a row and a column.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    op: &'static str,
    gradient: View<'_, G::Memory>,
    sizes: &Sizes,
    method: Method,
) -> Result<G::Memory> {
    let dtype = gradient.dtype;
    let suffix = suffix(op, "gradient", dtype)?;
    let (height, width) = sizes.input;
    let length = sizes.planes * height * width;
    let mut dx = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(dx);
    }
    let mut rows = gpu.allocate(DType::U32, height + 1)?;
    let mut columns = gpu.allocate(DType::U32, width + 1)?;
    let mut arguments = vec![Argument::write(&mut rows), Argument::write(&mut columns)];
    arguments.extend(axes(dtype, sizes, method)?);
    let name = format!("resize_starts_{suffix}");
    launch(gpu, &name, height + width + 2, &mut arguments)?;
    let mut arguments = vec![
        Argument::Read(gradient),
        Argument::Read(gpu.view(&rows)),
        Argument::Read(gpu.view(&columns)),
        Argument::write(&mut dx),
        Argument::size(sizes.planes),
    ];
    arguments.extend(axes(dtype, sizes, method)?);
    let name = format!("resize_gradient_{suffix}");
    launch(gpu, &name, length, &mut arguments)?;
    Ok(dx)
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    items: usize,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let kernel = Kernel {
        module: "resize",
        name,
    };
    gpu.launch(kernel, Grid::over(gpu, items), arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{Method, Sizes, cpu};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    /// The specification, in the type of number that the kernel computes in.
    fn expected(
        x: &[f64],
        sizes: &Sizes,
        method: Method,
        dtype: DType,
        backward: bool,
    ) -> Vec<f64> {
        fn compute<T: crate::element::Element>(
            x: &[T],
            sizes: &Sizes,
            method: Method,
            backward: bool,
        ) -> Vec<T> {
            match (method, backward) {
                (Method::Nearest, false) => cpu::nearest(x, sizes),
                (Method::Nearest, true) => cpu::nearest_backward(x, sizes),
                (Method::Bilinear { align_corners }, false) => {
                    cpu::bilinear(x, sizes, align_corners)
                }
                (Method::Bilinear { align_corners }, true) => {
                    cpu::bilinear_backward(x, sizes, align_corners)
                }
            }
        }
        if dtype == DType::F64 {
            return compute(x, sizes, method, backward);
        }
        let x: Vec<f32> = x.iter().map(|&value| value as f32).collect();
        let values = compute(&x, sizes, method, backward);
        values.into_iter().map(f64::from).collect()
    }

    #[test]
    fn emulated_kernels_equal_the_specification() {
        let methods = [
            Method::Nearest,
            Method::Bilinear {
                align_corners: false,
            },
            Method::Bilinear {
                align_corners: true,
            },
        ];
        emulate("resize/resize.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (planes, input, output) in [
                    (0, (2, 2), (3, 3)),
                    (2, (1, 1), (3, 5)),
                    (1, (5, 7), (1, 1)),
                    (3, (5, 7), (10, 14)),
                    (2, (6, 6), (6, 6)),
                    (2, (9, 4), (4, 13)),
                    (1, (3, 31), (8, 9)),
                ] {
                    // The types of 16 bits share the arithmetic of f32.
                    if dtype.size_in_bytes() == 2 && planes < 3 {
                        continue;
                    }
                    let sizes = Sizes {
                        planes,
                        input,
                        output,
                    };
                    for method in methods {
                        let x = rounded(&numbers("x", planes * input.0 * input.1), dtype);
                        let dy = rounded(&numbers("dy", planes * output.0 * output.1), dtype);
                        let what = format!("{dtype:?} {method:?} {sizes:?}");
                        let on_gpu = (gpu.upload(&x, dtype), gpu.upload(&dy, dtype));
                        let y = super::forward(gpu, "resize", gpu.view(&on_gpu.0), &sizes, method)
                            .unwrap();
                        let specified = expected(&x, &sizes, method, dtype, false);
                        assert_close(&what, &gpu.download(&y), &specified, tolerance);
                        let dx =
                            super::backward(gpu, "resize", gpu.view(&on_gpu.1), &sizes, method)
                                .unwrap();
                        let specified = expected(&dy, &sizes, method, dtype, true);
                        assert_close(&what, &gpu.download(&dx), &specified, tolerance);
                    }
                }
            }
        });
    }

    #[test]
    fn emulated_kernels_spread_infinity_and_nan_alike() {
        emulate("resize/resize.cu", |gpu| {
            let sizes = Sizes {
                planes: 1,
                input: (5, 6),
                output: (9, 11),
            };
            for align_corners in [false, true] {
                let method = Method::Bilinear { align_corners };
                let (mut x, mut dy) = (numbers("x", 30), numbers("dy", 99));
                (x[7], x[29], dy[12], dy[98]) = (f64::INFINITY, f64::NAN, f64::INFINITY, f64::NAN);
                let on_gpu = (gpu.upload(&x, DType::F32), gpu.upload(&dy, DType::F32));
                let y = super::forward(gpu, "resize", gpu.view(&on_gpu.0), &sizes, method).unwrap();
                let specified = expected(&x, &sizes, method, DType::F32, false);
                assert_close("y", &gpu.download(&y), &specified, 2e-6);
                let dx =
                    super::backward(gpu, "resize", gpu.view(&on_gpu.1), &sizes, method).unwrap();
                let specified = expected(&dy, &sizes, method, DType::F32, true);
                assert_close("dx", &gpu.download(&dx), &specified, 2e-6);
            }
        });
    }
}
