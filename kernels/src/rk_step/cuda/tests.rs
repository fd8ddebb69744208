//! The emulated kernels against the specification, for every type and with and without tails.

use super::super::clamped::{Clamped, ClampedGradient};
use super::super::{Samples, cpu};
use super::{
    Loss, States, clamped, clamped_gradients, interpolate, interpolate_gradients, scale_in_place,
};
use crate::cuda::emulation::{Emulation, Memory, TYPES, assert_close, emulate, numbers, rounded};
use crate::cuda::{Gpu, View};
use candle_core::DType;

const SOURCE: &str = "rk_step/rk_step.cu";

/// Pieces, tails, one element, nothing, and more items than the grid has threads.
const SHAPES: [(usize, usize); 6] = [(3, 16), (2, 7), (1, 1), (0, 8), (2, 0), (5, 168)];

/// An operand: what the type holds of it, there and here.
struct Operand {
    memory: Memory,
    values: Vec<f64>,
    start: usize,
}

impl Operand {
    fn new(gpu: &Emulation, label: &str, length: usize, dtype: DType) -> Self {
        Self::from(gpu, &numbers(label, length), dtype, 0)
    }

    /// The numbers from `start` on.
    fn from(gpu: &Emulation, values: &[f64], dtype: DType, start: usize) -> Self {
        let values = rounded(values, dtype);
        Self {
            memory: gpu.upload(&values, dtype),
            values: values[start..].to_vec(),
            start,
        }
    }

    fn view<'a>(&'a self, gpu: &Emulation) -> View<'a, Memory> {
        gpu.view(&self.memory).narrow(self.start, self.values.len())
    }
}

fn all_views<'a>(gpu: &Emulation, operands: &'a [Operand]) -> Vec<View<'a, Memory>> {
    operands.iter().map(|operand| operand.view(gpu)).collect()
}

/// Runs `test` for every type and shape.
fn for_each(test: impl Fn(&Emulation, DType, f64, Samples)) {
    emulate(SOURCE, |gpu| {
        for (dtype, tolerance) in TYPES {
            for (batch, image) in SHAPES {
                test(gpu, dtype, tolerance, Samples { batch, image });
            }
        }
    });
}

/// The type of what each sample has one of.
fn scalar(dtype: DType) -> DType {
    super::wide(dtype)
}

#[test]
fn states() {
    let rules: [(&[&[f64]], &[f64]); 5] = [
        (&[&[1.0]], &[1.0]),
        (&[&[0.5, 0.5], &[0.0, 1.0]], &[1.0, 2.0]),
        (
            &[&[0.4, 0.7, -0.1], &[0.2, 0.6, 0.2], &[0.25, 0.0, 0.75]],
            &[1.0, 2.0, 3.0],
        ),
        (&[&[0.1, 0.4, 0.3, 0.2]], &[1.0]),
        (&[&[1.0], &[1.0]], &[0.25, 0.5]),
    ];
    for_each(|gpu, dtype, tolerance, samples| {
        let length = samples.len();
        for (index, (weights, steps)) in rules.iter().enumerate() {
            let weights: Vec<Vec<f64>> = weights.iter().map(|weights| weights.to_vec()).collect();
            let slopes = weights[0].len();
            let start = index % 2;
            let operand =
                |label: &str| Operand::from(gpu, &numbers(label, start + length), dtype, start);
            let x = operand("x");
            let k: Vec<_> = ["k1", "k2", "k3", "k4"][..slopes]
                .iter()
                .map(|k| operand(k))
                .collect();
            let dt = Operand::new(gpu, "dt", samples.batch, scalar(dtype));
            let on_gpu = States {
                op: "rk_step",
                samples,
                weights: &weights,
                steps,
            };
            let views: Vec<_> = k.iter().map(|k| k.view(gpu)).collect();
            let what = format!("{dtype:?} {samples:?} rule {index}");
            let found = on_gpu
                .forward(gpu, x.view(gpu), &views, dt.view(gpu))
                .unwrap();
            let scales: Vec<f64> = dt
                .values
                .iter()
                .flat_map(|dt| steps.iter().map(move |steps| steps * dt))
                .collect();
            let values: Vec<&[f64]> = k.iter().map(|k| &k.values[..]).collect();
            let expected = cpu::states(&x.values, &values, &weights, &scales, samples);
            assert_close(
                &format!("states, {what}"),
                &gpu.download(&found),
                &expected,
                tolerance,
            );

            let ds = Operand::new(gpu, "ds", steps.len() * length, dtype);
            let parts: Vec<&[f64]> = (0..steps.len())
                .map(|part| &ds.values[part * length..][..length])
                .collect();
            let found = on_gpu.sample_products(gpu, ds.view(gpu), &views).unwrap();
            let terms = cpu::terms(&values, &weights);
            let expected = cpu::sample_products(&parts, &terms, steps, samples);
            assert_close(
                &format!("products, {what}"),
                &gpu.download(&found),
                &expected,
                tolerance,
            );
            for (of_x, slopes) in [(true, slopes), (true, 0), (false, slopes)] {
                let found = on_gpu
                    .gradients(gpu, ds.view(gpu), dt.view(gpu), of_x, slopes)
                    .unwrap();
                let mut expected = Vec::new();
                if of_x {
                    expected.extend(
                        (0..length).map(|at| parts.iter().map(|part| part[at]).sum::<f64>()),
                    );
                }
                for slope in 0..slopes {
                    expected.extend((0..length).map(|at| {
                        let each = parts.iter().zip(&weights).zip(*steps);
                        let sum: f64 = each
                            .map(|((part, weights), steps)| steps * weights[slope] * part[at])
                            .sum();
                        -dt.values[at / samples.image] * sum
                    }));
                }
                let what = format!("gradients, {what}");
                assert_close(&what, &gpu.download(&found), &expected, tolerance);
            }
        }
    });
}

#[test]
fn interpolations() {
    for_each(|gpu, dtype, tolerance, samples| {
        let (x, z) = (
            Operand::new(gpu, "x", samples.len(), dtype),
            Operand::new(gpu, "z", samples.len(), dtype),
        );
        let mut times = numbers("t", samples.batch);
        // The ends are exact.
        times
            .iter_mut()
            .take(2)
            .enumerate()
            .for_each(|(index, time)| *time = index as f64);
        let t = Operand::from(gpu, &times, scalar(dtype), 0);
        let table: Vec<f64> = t
            .values
            .iter()
            .flat_map(|&t| [t, 1.0 - t, 1.0, -1.0])
            .collect();
        let [state, velocity] = cpu::combine([&z.values, &x.values], &table, samples);
        let what = format!("{dtype:?} {samples:?}");
        for wanted in [true, false] {
            let found =
                interpolate(gpu, x.view(gpu), z.view(gpu), t.view(gpu), samples, wanted).unwrap();
            let states = gpu.download(&found.0);
            assert_close(&format!("x_t, {what}"), &states, &state, tolerance);
            if samples.batch > 1 {
                let (data, noise) = (0..samples.image, samples.image..2 * samples.image);
                assert_eq!(states[data.clone()], x.values[data]);
                assert_eq!(states[noise.clone()], z.values[noise]);
            }
            assert_eq!(found.1.is_some(), wanted);
            if let Some(found) = found.1 {
                assert_close(
                    &format!("g, {what}"),
                    &gpu.download(&found),
                    &velocity,
                    tolerance,
                );
            }
        }
        for wanted in [(true, true), (true, false), (false, true)] {
            let found =
                interpolate_gradients(gpu, x.view(gpu), t.view(gpu), samples, wanted).unwrap();
            let factors = t.values.iter().flat_map(|&t| {
                wanted
                    .0
                    .then_some(1.0 - t)
                    .into_iter()
                    .chain(wanted.1.then_some(t))
            });
            let table: Vec<f64> = factors.collect();
            let outputs = usize::from(wanted.0) + usize::from(wanted.1);
            let expected = cpu::combine_flat(&[&x.values], &table, outputs, samples);
            assert_close(
                &format!("ends, {what}"),
                &gpu.download(&found),
                &expected,
                tolerance,
            );
        }
    });
}

#[test]
fn clamped_steps() {
    for_each(|gpu, dtype, tolerance, samples| {
        let length = samples.len();
        let operand = |label: &str| Operand::new(gpu, label, length, dtype);
        let (x, v, previous) = (operand("x"), operand("v"), operand("previous"));
        // Numbers that every type holds, so that all agree on what lies outside.
        for (estimate, two_steps) in [(false, false), (true, false), (false, true), (true, true)] {
            let step = Clamped {
                h: 0.25,
                t: 0.5,
                low: -0.5,
                high: 0.375,
                estimate,
            };
            let before = two_steps.then_some(&previous);
            let view = before.map(|before| before.view(gpu));
            let found = clamped(gpu, x.view(gpu), v.view(gpu), view, &step).unwrap();
            let values = before.map(|before| &before.values[..]);
            let expected = cpu::clamped(&x.values, &v.values, values, &step);
            let what = format!("{dtype:?} {length} {estimate} {two_steps}");
            assert_close(
                &format!("step, {what}"),
                &gpu.download(&found),
                &expected,
                tolerance,
            );
            let gradient =
                Operand::new(gpu, "gradient", length * (1 + usize::from(estimate)), dtype);
            let op = ClampedGradient { step, two_steps };
            let found =
                clamped_gradients(gpu, gradient.view(gpu), x.view(gpu), v.view(gpu), &op).unwrap();
            let expected = cpu::clamped_gradient(&gradient.values, &x.values, &v.values, &op);
            assert_close(
                &format!("gradient, {what}"),
                &gpu.download(&found),
                &expected,
                tolerance,
            );
        }
    });
}

#[test]
fn losses() {
    for_each(|gpu, dtype, tolerance, samples| {
        let Samples { batch, .. } = samples;
        let length = samples.len();
        for heads in [1, 2, 3, 5] {
            let label = |what: &str, head: usize| format!("{what} {head}");
            let p: Vec<_> = (0..heads)
                .map(|head| Operand::new(gpu, &label("p", head), length, dtype))
                .collect();
            let open: Vec<bool> = (0..batch)
                .map(|sample| heads == 2 || sample % 3 != 1)
                .collect();
            let u: Vec<_> = (0..heads)
                .map(|head| {
                    let mut values = numbers(&label("u", head), length);
                    // What is masked is never read.
                    for (at, value) in values.iter_mut().enumerate() {
                        if !open[at / samples.image] {
                            *value = f64::NAN;
                        }
                    }
                    Operand::from(gpu, &values, dtype, 0)
                })
                .collect();
            let g = Operand::new(gpu, "g", length, dtype);
            let mask: Vec<f64> = open.iter().map(|&open| f64::from(u8::from(open))).collect();
            let mask = gpu.upload(&mask, DType::U8);
            let omega = Operand::new(gpu, "omega", batch, scalar(dtype));
            let weights: Vec<(f64, f64)> = (0..heads)
                .map(|head| (0.5 + head as f64, 1.5 - 0.25 * head as f64))
                .collect();
            let views = (all_views(gpu, &p), all_views(gpu, &u));
            let weighted = heads != 3;
            let loss = Loss {
                samples,
                predictions: &views.0,
                targets: &views.1,
                velocity: g.view(gpu),
                mask: (heads != 2).then(|| gpu.view(&mask)),
                weights: &weights,
                of_samples: weighted.then(|| omega.view(gpu)),
            };
            let wanted: Vec<bool> = (0..heads).map(|head| head != 1).collect();
            let of_velocity = heads != 1;
            let mut found = loss.run(gpu, &wanted, of_velocity).unwrap();
            let values = |operands: &[Operand]| -> Vec<Vec<f64>> {
                operands
                    .iter()
                    .map(|operand| operand.values.clone())
                    .collect()
            };
            let (p, u) = (values(&p), values(&u));
            let expected = cpu::Loss {
                samples,
                predictions: &p.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                targets: &u.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                velocity: &g.values,
                mask: &open,
                weights: &weights,
                of_samples: &if weighted {
                    omega.values.clone()
                } else {
                    vec![1.0; batch]
                },
            }
            .run(&wanted, of_velocity);
            let what = format!("{dtype:?} {samples:?} {heads} heads");
            let value = gpu.download(&found.loss);
            assert_close(
                &format!("loss, {what}"),
                &value,
                &[expected.loss],
                tolerance,
            );
            let all = found.of_predictions.iter().chain([&found.of_velocity]);
            let expected_all = expected
                .of_predictions
                .iter()
                .chain([&expected.of_velocity]);
            for (found, expected) in all.zip(expected_all) {
                assert_eq!(found.is_some(), expected.is_some());
                if let (Some(found), Some(expected)) = (found, expected) {
                    // Its terms may cancel: as far off as they may be, of size 1 without 2 / D.
                    let sized = |values: &[f64]| -> Vec<f64> {
                        let values = values.iter().map(|value| value * length as f64 / 2.0);
                        values.chain([1.0]).collect()
                    };
                    let (found, expected) = (sized(&gpu.download(found)), sized(expected));
                    let tolerance = if heads > 4 {
                        3.0 * tolerance
                    } else {
                        tolerance
                    };
                    assert_close(&format!("gradient, {what}"), &found, &expected, tolerance);
                }
            }
            if let Some(found) = &mut found.of_predictions[0] {
                let before = gpu.download(found);
                let factor = gpu.upload(&[-0.5], dtype);
                scale_in_place(gpu, found, (dtype, length), gpu.view(&factor)).unwrap();
                let expected: Vec<f64> = before.iter().map(|value| value * -0.5).collect();
                assert_close(
                    &format!("scaled, {what}"),
                    &gpu.download(found),
                    &expected,
                    tolerance,
                );
            }
        }
    });
}
