//! Runge-Kutta catch-up arithmetic.

use crate::{Findings, IMAGES, bytes, learned, single};
use candle_core::{DType, Result, Tensor};
use taper_kernels::testing::uniform;
use taper_kernels::{
    CatchUpWeights, SamplerStep, StageRule, catchup_loss, interpolate, rk_step, sampler_update,
};

pub(crate) fn catch_up(findings: &mut Findings) -> Result<()> {
    let tensors: Vec<Tensor> = (0..6).map(|index| single(10 + index, &IMAGES)).collect();
    let time = uniform("allocations", 16, &[16], 0.0, 1.0)?.to_dtype(DType::F32)?;
    let image = bytes(&tensors[0]);
    findings.call("interpolate", 2 * image, 0, || {
        interpolate(&tensors[0], &tensors[1], &time)
    });
    for order in 1..=4 {
        let slopes: Vec<&Tensor> = tensors[1..=order].iter().collect();
        let states = if order == 4 { 1 } else { order };
        findings.call(&format!("rk_step order {order}"), states * image, 0, || {
            rk_step(&tensors[0], &slopes, &time, StageRule::Paper)
        });
    }
    let step = SamplerStep {
        h: 0.1,
        t: 0.5,
        clamp: Some((-1.0, 1.0)),
    };
    findings.call("sampler_update", image, 0, || {
        sampler_update(&tensors[0], &tensors[1], None, &step)
    });
    let prediction = learned(17, &IMAGES);
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[1.0],
        samples: None,
    };
    let loss = |prediction: &Tensor| {
        catchup_loss(&[prediction], &[&tensors[0]], &tensors[1], None, &weights)
    };
    findings.call("catchup_loss", 4, 0, || loss(&prediction.detach()));
    findings.call("catchup_loss tracked", image, 0, || loss(&prediction));
    Ok(())
}
