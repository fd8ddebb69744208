//! The arithmetic of Catch-Up Distillation, and CTC: operators over samples.

use crate::support::{Input, View, assert_same, cases, check, check_values, values, views};
use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use taper_kernels::{
    CatchUpWeights, CtcOptions, CtcReduction, SamplerStep, StageRule, catchup_loss, ctc_loss,
    interpolate, interpolate_state, rk_stage, rk_step, sampler_update,
    sampler_update_with_estimate,
};

/// Samples of up to three axes; some have none, some no elements.
fn dims() -> impl Strategy<Value = Vec<usize>> {
    (
        prop_oneof![8 => 1usize..5, 1 => Just(0)],
        prop::collection::vec(prop_oneof![8 => 1usize..5, 1 => Just(0)], 0..4),
    )
        .prop_map(|(batch, sample)| [vec![batch], sample].concat())
}

/// One tensor of all the parts.
fn joined(parts: &[Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> = parts
        .iter()
        .map(Tensor::flatten_all)
        .collect::<Result<_>>()?;
    Tensor::cat(&flat, 0)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn lines(dims in dims(), view in views(), other in views(), seed in any::<u64>()) {
        let (x, z) = (Input::new(seed, &dims, view), Input::new(seed ^ 1, &dims, other));
        let t = Input::between(seed ^ 2, &dims[..1], view, 0.0, 1.0);
        check(&[&x, &z, &t], 1e-5, |i| {
            let (state, velocity) = interpolate(&i[0], &i[1], &i[2])?;
            joined(&[state, velocity])
        });
        check(&[&x, &z, &t], 1e-5, |i| interpolate_state(&i[0], &i[1], &i[2]));
    }

    #[test]
    fn stages(dims in dims(), order in 1usize..5, corrected in any::<bool>(), coefficients in prop::array::uniform4(-1.0..1.0), view in views(), other in views(), seed in any::<u64>()) {
        let rule = if corrected { StageRule::Corrected } else { StageRule::Paper };
        let (x, dt) = (Input::new(seed, &dims, view), Input::new(seed ^ 9, &dims[..1], other));
        let slopes: Vec<Input> = (0..order as u64).map(|i| Input::new(seed ^ (i + 1), &dims, other)).collect();
        let inputs: Vec<&Input> = [&x, &dt].into_iter().chain(&slopes).collect();
        check(&inputs, 1e-5, |i| rk_stage(&i[0], &i[2..].iter().collect::<Vec<_>>(), &coefficients[..order], &i[1]));
        check(&inputs, 1e-5, |i| joined(&rk_step(&i[0], &i[2..].iter().collect::<Vec<_>>(), &i[1], rule)?));
        // Slopes off the tape are read where they lie.
        check(&[&x, &dt], 1e-5, |i| {
            let slopes: Vec<Tensor> = slopes.iter().map(|slope| slope.tensor()?.detach().to_dtype(i[0].dtype())).collect::<Result<_>>()?;
            joined(&rk_step(&i[0], &slopes.iter().collect::<Vec<_>>(), &i[1], rule)?)
        });
    }

    #[test]
    fn catch_up(dims in dims().prop_filter("a mean of something", |dims| !dims.contains(&0)), heads in 1usize..4, masked in any::<bool>(), weighted in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let predictions: Vec<Input> = (0..heads as u64).map(|i| Input::new(seed ^ i, &dims, view)).collect();
        let targets: Vec<Input> = (0..heads as u64).map(|i| Input::new(seed ^ (i + 16), &dims, other)).collect();
        let velocity = Input::new(seed ^ 32, &dims, other);
        let omega = Input::between(seed ^ 33, &dims[..1], other, 0.1, 2.0);
        let mask: Vec<u8> = (0..dims[0]).map(|sample| (seed >> (sample % 60) & 1) as u8).collect();
        let mask = Tensor::new(mask, &Device::Cpu).unwrap();
        let (near, far) = ([0.5, 1.0, 2.0], [1.5, 0.0, 0.25]);
        // The target of a masked sample is the velocity as a constant: no difference may move it then.
        let moved: Vec<&Input> = (!masked).then_some(&velocity).into_iter().collect();
        let inputs: Vec<&Input> = predictions.iter().chain(moved).collect();
        check(&inputs, 1e-5, |i| {
            let targets: Vec<Tensor> = targets.iter().map(|target| target.tensor()?.to_dtype(i[0].dtype())).collect::<Result<_>>()?;
            let samples = omega.tensor()?.to_dtype(i[0].dtype())?;
            let mask = masked.then_some(&mask);
            let weights = CatchUpWeights { catch_up: &near[..heads], truth: &far[..heads], samples: weighted.then_some(&samples) };
            let velocity = match i.get(heads) {
                Some(velocity) => velocity.clone(),
                None => velocity.tensor()?.to_dtype(i[0].dtype())?,
            };
            catchup_loss(&i[..heads].iter().collect::<Vec<_>>(), &targets.iter().collect::<Vec<_>>(), &velocity, mask, &weights)
        });
    }

    #[test]
    fn samplers(dims in dims(), h in 0.01..1.0f64, t in 0.2..1.0f64, clamped in any::<bool>(), two in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let (x, v, previous) = (Input::new(seed, &dims, view), Input::new(seed ^ 1, &dims, other), Input::new(seed ^ 2, &dims, view));
        let step = SamplerStep { h, t, clamp: clamped.then_some((-0.4, 0.5)) };
        let inputs: Vec<&Input> = [&x, &v, &previous].into_iter().take(if two { 3 } else { 2 }).collect();
        let data: Vec<f64> = values(&x.tensor().unwrap()).iter().zip(values(&v.tensor().unwrap())).map(|(x, v)| x - t * v).collect();
        // No difference may step over an end of the clamp.
        prop_assume!(!clamped || data.iter().all(|d| (d + 0.4).abs() > 1e-3 && (d - 0.5).abs() > 1e-3));
        check(&inputs, 1e-5, |i| sampler_update(&i[0], &i[1], i.get(2), &step));
        check(&inputs, 1e-5, |i| {
            let (next, estimate) = sampler_update_with_estimate(&i[0], &i[1], i.get(2), &step)?;
            joined(&[next, estimate])
        });
    }

    #[test]
    fn alignments(frames in 1usize..7, batch in 1usize..4, classes in 2usize..5, longest in 0usize..4, mean in any::<bool>(), blank in any::<prop::sample::Index>(), view in views(), seed in any::<u64>()) {
        let blank = blank.index(classes);
        let x = Input::between(seed, &[frames, batch, classes], view, -3.0, -0.1);
        let target_lengths: Vec<usize> = (0..batch).map(|sample| (longest + sample) % (longest + 1)).collect();
        // At least enough frames for labels that all repeat.
        prop_assume!(target_lengths.iter().all(|&length| 2 * length <= frames + 1));
        let input_lengths: Vec<usize> = target_lengths.iter().map(|&length| (2 * length).clamp(1, frames).max(frames - frames / 3)).collect();
        let labels: Vec<u32> = (0..batch * longest).map(|i| {
            let label = (seed >> (i % 50)) as usize % (classes - 1);
            (if label < blank { label } else { label + 1 }) as u32
        }).collect();
        let labels = Tensor::from_vec(labels, (batch, longest), &Device::Cpu).unwrap();
        for reduction in [CtcReduction::None, if mean { CtcReduction::Mean } else { CtcReduction::Sum }] {
            let options = CtcOptions { blank, zero_infinity: true, reduction };
            check(&[&x], 1e-4, |i| ctc_loss(&i[0], &labels, &input_lengths, &target_lengths, &options));
        }
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn large_samples(batch in 2usize..6, sample in 20_000usize..40_000, seed in any::<u64>()) {
        let dims = [batch, sample];
        let inputs = [0, 1, 2].map(|index| Input::new(seed ^ index, &dims, View::Contiguous));
        let t = Input::between(seed ^ 3, &[batch], View::Contiguous, 0.0, 1.0);
        check_values(&[&inputs[0], &inputs[1], &t], 1e-5, |i| interpolate_state(&i[0], &i[1], &i[2]));
        check_values(&[&inputs[0], &t, &inputs[1], &inputs[2]], 1e-5, |i| joined(&rk_step(&i[0], &[&i[2], &i[3]], &i[1], StageRule::Paper)?));
        let step = SamplerStep { h: 0.1, t: 0.5, clamp: None };
        check_values(&[&inputs[0], &inputs[1]], 1e-5, |i| sampler_update(&i[0], &i[1], None, &step));
    }
}

#[test]
fn a_step_of_one_slope_is_eulers() -> Result<()> {
    let x = Tensor::new(&[[1f64, 2.], [3., 4.]], &Device::Cpu)?;
    let dt = Tensor::new(&[0.5f64, 0.25], &Device::Cpu)?;
    let states = rk_step(&x.t()?, &[&x], &dt, StageRule::Paper)?;
    assert_same(&states[0], &[0.5, 2.0, 1.25, 3.0], 1e-15);
    assert_eq!(states[0].dtype(), DType::F64);
    Ok(())
}
