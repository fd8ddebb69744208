//! The same bits at 1, 2 and 3 threads, in results and gradients.

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::testing::{uniform, weighted_sum};
use taper_kernels::threads::set_threads;
use taper_kernels::{
    Activation, AdamWHyper, Pool2dGeometry, SgdHyper, adamw_step, avg_pool2d, batch_norm_train,
    cross_entropy, ema_step, global_avg_pool2d, linear, log_softmax, max_pool2d, segment_match,
    sgd_step, squared_norm,
};

fn single(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("determinism", index, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

/// A small network with every operator, one step of every optimiser: all numbers it produces.
fn everything(dims: [usize; 4]) -> Result<Vec<Vec<u32>>> {
    let [batch, channels, height, width] = dims;
    let x = Var::from_tensor(&single(0, &dims)?)?;
    let weight = Var::from_tensor(&single(1, &[channels])?)?;
    let bias = Var::from_tensor(&single(2, &[channels])?)?;
    let (normed, statistics) =
        batch_norm_train(&x, &weight, &bias, Some(&x), 1e-5, Activation::Relu)?;
    let pooled = max_pool2d(&normed, &Pool2dGeometry::square(3, 2, 1))?;
    let smooth = avg_pool2d(&normed, &Pool2dGeometry::square(3, 1, 1), false)?;
    let matched = segment_match(
        &smooth,
        &single(3, &[batch, channels / 2, height, width])?,
        2,
    )?;
    let logits = linear(
        &global_avg_pool2d(&pooled)?,
        &single(4, &[10, channels])?,
        None,
    )?;
    let targets = Tensor::new(
        (0..batch as u32)
            .map(|index| index % 10)
            .collect::<Vec<_>>(),
        &Device::Cpu,
    )?;
    let loss = ((matched + cross_entropy(&logits, &targets, 0.1)?)?
        + weighted_sum(&log_softmax(&logits, 1)?)?)?;
    let gradients = loss.backward()?;
    let gradient = gradients.get(&x).expect("x has a gradient");
    let velocity = x.zeros_like()?;
    let hyper = SgdHyper {
        lr: 0.1,
        momentum: 0.9,
        ..SgdHyper::default()
    };
    sgd_step(&x, gradient, &velocity, &hyper, true)?;
    adamw_step(
        &x,
        gradient,
        &velocity,
        &x.zeros_like()?,
        &AdamWHyper::default(),
        3,
    )?;
    ema_step(&velocity, &x, 0.9)?;
    let norm = Tensor::new(squared_norm(gradient)?, &Device::Cpu)?.to_dtype(DType::F32)?;
    let of = |var: &Var| gradients.get(var).expect("has a gradient").clone();
    [
        normed,
        statistics.mean,
        statistics.variance,
        pooled,
        loss,
        of(&x),
        of(&weight),
        of(&bias),
        x.as_detached_tensor(),
        velocity,
        norm,
    ]
    .iter()
    .map(|tensor| {
        Ok(tensor
            .flatten_all()?
            .to_vec1::<f32>()?
            .into_iter()
            .map(f32::to_bits)
            .collect())
    })
    .collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for dims in [[16, 6, 32, 32], [33, 64, 8, 8], [5, 4, 3, 7]] {
        set_threads(1);
        let alone = everything(dims)?;
        for count in [2, 3] {
            set_threads(count);
            assert!(
                everything(dims)? == alone,
                "{dims:?} differs at {count} threads"
            );
        }
        set_threads(0);
    }
    Ok(())
}
