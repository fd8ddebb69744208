//! The update rules on a GPU.

use super::{AdamWHyper, SgdHyper};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Memory of a tensor that is changed in place, and where the tensor starts in it.
pub(super) type Place<'a, M> = (&'a mut M, usize);

/// See [`super::sgd_step`].
pub(super) fn sgd<G: Gpu>(
    gpu: &G,
    param: Place<'_, G::Memory>,
    grad: View<'_, G::Memory>,
    velocity: Place<'_, G::Memory>,
    hyper: &SgdHyper,
    first: bool,
) -> Result<()> {
    let rule = match (hyper.momentum != 0.0, first) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    };
    let mut arguments = [
        Argument::Write(param.0, param.1),
        Argument::Read(grad),
        Argument::Write(velocity.0, velocity.1),
        Argument::size(grad.length),
        Argument::Int(rule),
        Argument::Int(hyper.nesterov.into()),
        Argument::Real(hyper.lr),
        Argument::Real(hyper.momentum),
        Argument::Real(1.0 - hyper.dampening),
        Argument::Real(hyper.weight_decay),
    ];
    launch(gpu, "sgd", grad, &mut arguments)
}

/// See [`super::adamw_step`].
pub(super) fn adamw<G: Gpu>(
    gpu: &G,
    param: Place<'_, G::Memory>,
    grad: View<'_, G::Memory>,
    [average, square]: [Place<'_, G::Memory>; 2],
    hyper: &AdamWHyper,
    step: u64,
) -> Result<()> {
    let corrections = [hyper.beta1, hyper.beta2].map(|beta| 1.0 - beta.powf(step as f64));
    let mut arguments = vec![
        Argument::Write(param.0, param.1),
        Argument::Read(grad),
        Argument::Write(average.0, average.1),
        Argument::Write(square.0, square.1),
        Argument::size(grad.length),
    ];
    let numbers = [
        1.0 - hyper.lr * hyper.weight_decay,
        1.0 - hyper.beta1,
        hyper.beta2,
        1.0 - hyper.beta2,
        corrections[1].sqrt(),
        hyper.eps,
        hyper.lr / corrections[0],
    ];
    arguments.extend(numbers.map(Argument::Real));
    launch(gpu, "adamw", grad, &mut arguments)
}

/// `average ← decay · average + (1 − decay) · param`.
pub(super) fn ema<G: Gpu>(
    gpu: &G,
    average: Place<'_, G::Memory>,
    param: View<'_, G::Memory>,
    decay: f64,
) -> Result<()> {
    let mut arguments = [
        Argument::Write(average.0, average.1),
        Argument::Read(param),
        Argument::size(param.length),
        Argument::Real(decay),
    ];
    launch(gpu, "ema", param, &mut arguments)
}

/// The sum of all squares, one f64; workspace: 8 bytes a block.
pub(super) fn squared_norm<G: Gpu>(gpu: &G, values: View<'_, G::Memory>) -> Result<G::Memory> {
    let blocks = Grid::over(gpu, values.length).blocks();
    let mut partial = gpu.allocate(DType::F64, blocks)?;
    let mut total = gpu.allocate(DType::F64, 1)?;
    let mut arguments = [
        Argument::Read(values),
        Argument::write(&mut partial),
        Argument::size(values.length),
    ];
    let name = format!(
        "optimiser_squares_{}",
        suffix("squared_norm", "tensor", values.dtype)?
    );
    gpu.launch(
        kernel(&name),
        Grid::over(gpu, values.length),
        &mut arguments,
    )?;
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut total),
        Argument::int(blocks)?,
    ];
    gpu.launch(kernel("optimiser_sum"), Grid([1; 3]), &mut arguments)?;
    Ok(total)
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    operand: View<'_, G::Memory>,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    if operand.length == 0 {
        return Ok(());
    }
    let name = format!(
        "optimiser_{name}_{}",
        suffix("optimiser", "param", operand.dtype)?
    );
    gpu.launch(kernel(&name), Grid::over(gpu, operand.length), arguments)
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "optimiser",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::*;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_steps_equal_the_specification() {
        emulate("optimiser/optimiser.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                let tolerance = 2.0 * tolerance;
                for (length, start) in [(0, 0), (1, 2), (500, 3)] {
                    let host = |name: &str| rounded(&numbers(name, start + length), dtype);
                    let (param, grad, state) = (host("param"), host("grad"), host("state"));
                    let square: Vec<f64> = host("square").iter().map(|v| v.abs()).collect();
                    let on_gpu = gpu.upload(&grad, dtype);
                    let grad_view = gpu.view(&on_gpu).narrow(start, length);
                    let check = |what, found: &_, expected: &[f64]| {
                        assert_close(what, &gpu.download(found), expected, tolerance);
                    };
                    for (momentum, first, nesterov) in
                        [(0.0, false, false), (0.9, true, false), (0.9, false, true)]
                    {
                        let hyper = SgdHyper {
                            lr: 0.1,
                            momentum,
                            dampening: 0.25,
                            nesterov,
                            weight_decay: 0.01,
                        };
                        let (mut p, mut v) = (gpu.upload(&param, dtype), gpu.upload(&state, dtype));
                        sgd(
                            gpu,
                            (&mut p, start),
                            grad_view,
                            (&mut v, start),
                            &hyper,
                            first,
                        )
                        .unwrap();
                        let (mut expected, mut velocity) = (param.clone(), state.clone());
                        let (to, by) = (&mut expected[start..], &mut velocity[start..]);
                        cpu::sgd(to, &grad[start..], by, &hyper, first);
                        check("sgd param", &p, &expected);
                        check("sgd velocity", &v, &velocity);
                    }
                    let hyper = AdamWHyper::default();
                    let mut p = gpu.upload(&param, dtype);
                    let mut m = (gpu.upload(&state, dtype), gpu.upload(&square, dtype));
                    let places = [(&mut m.0, start), (&mut m.1, start)];
                    adamw(gpu, (&mut p, start), grad_view, places, &hyper, 3).unwrap();
                    let mut expected = (param.clone(), state.clone(), square.clone());
                    cpu::adamw(
                        &mut expected.0[start..],
                        &grad[start..],
                        &mut expected.1[start..],
                        &mut expected.2[start..],
                        &hyper,
                        3,
                    );
                    check("adamw param", &p, &expected.0);
                    check("adamw average", &m.0, &expected.1);
                    check("adamw square", &m.1, &expected.2);

                    let mut average = gpu.upload(&state, dtype);
                    ema(gpu, (&mut average, start), grad_view, 0.75).unwrap();
                    let mut expected = state.clone();
                    cpu::ema(&mut expected[start..], &grad[start..], 0.75);
                    check("ema", &average, &expected);

                    let norm = squared_norm(gpu, grad_view).unwrap();
                    let expected = cpu::squared_norm(&grad[start..]);
                    assert_close("norm", &gpu.download(&norm), &[expected], 1e-12);
                }
            }
        });
    }
}
