//! `ctc_loss` on a GPU.

use super::{CtcReduction, Geometry, OP};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Starts of the targets, frames, targets, and each target's labels in order of their classes.
pub(super) fn plan(geometry: &Geometry) -> Vec<u32> {
    let starts = std::iter::once(&0).chain(&geometry.ends);
    let mut plan: Vec<u32> = starts
        .chain(&geometry.input_lengths)
        .map(|&count| count as u32)
        .collect();
    plan.extend(&geometry.targets);
    for sample in 0..geometry.batch() {
        let targets = geometry.targets_of(sample);
        let mut order: Vec<u32> = (0..targets.len() as u32).collect();
        order.sort_by_key(|&label| targets[label as usize]);
        plan.extend(order);
    }
    plan
}

/// The loss or losses and, if wanted, the gradient of their (weighted) sum.
///
/// Workspace: 32 bytes a sample, frame and place of the longest target; of two frames only if no
/// gradient is wanted.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    log_probs: View<'_, G::Memory>,
    plan: View<'_, G::Memory>,
    geometry: &Geometry,
    reduction: CtcReduction,
    wanted: bool,
) -> Result<(G::Memory, Option<G::Memory>)> {
    let suffix = suffix(OP, "log_probs", log_probs.dtype)?;
    let batch = geometry.batch();
    let longest = (0..batch)
        .map(|sample| geometry.targets_of(sample).len())
        .max();
    let width = longest.unwrap_or(0) + 2;
    let kept = if wanted { geometry.frames } else { 2 };
    let doubles = |length: usize| gpu.allocate(DType::F64, length.max(1));
    let mut history = doubles(batch * kept * 4 * width)?;
    let (mut probability, mut losses) = (doubles(2 * batch)?, doubles(batch)?);
    let mut gradient = match wanted {
        true => Some(gpu.allocate(log_probs.dtype, log_probs.length)?),
        false => None,
    };
    let sizes = || [batch, geometry.classes, width].map(Argument::size);
    let launch = |name: &str, blocks: usize, arguments: &mut [Argument<'_, G::Memory>]| {
        let name = format!("ctc_{name}_{suffix}");
        let kernel = Kernel {
            module: OP,
            name: &name,
        };
        let blocks = blocks.clamp(1, gpu.most_blocks()) as u32;
        gpu.launch(kernel, Grid([blocks, 1, 1]), arguments)
    };
    let mut arguments = vec![
        Argument::Read(log_probs),
        Argument::Read(plan),
        Argument::write(&mut history),
        Argument::write(&mut probability),
        Argument::write(&mut losses),
        Argument::size(kept),
    ];
    arguments.extend(sizes());
    arguments.push(Argument::int(geometry.blank)?);
    arguments.push(Argument::Int(geometry.zero_infinity.into()));
    launch("alpha", batch, &mut arguments)?;
    if let Some(gradient) = &mut gradient {
        let mut work = doubles(batch * 9 * width)?;
        let mut arguments = vec![
            Argument::Read(log_probs),
            Argument::Read(plan),
            Argument::Read(gpu.view(&history)),
            Argument::Read(gpu.view(&probability)),
            Argument::write(&mut work),
            Argument::write(gradient),
            Argument::size(geometry.frames),
        ];
        arguments.extend(sizes());
        arguments.push(Argument::int(geometry.blank)?);
        arguments.push(Argument::Int(geometry.zero_infinity.into()));
        arguments.push(Argument::Int((reduction == CtcReduction::Mean).into()));
        launch("beta", batch, &mut arguments)?;
    }
    let (count, number) = match reduction {
        CtcReduction::None => (batch, 0),
        CtcReduction::Mean => (1, 1),
        CtcReduction::Sum => (1, 2),
    };
    let mut result = gpu.allocate(log_probs.dtype, count)?;
    let mut arguments = [
        Argument::Read(gpu.view(&losses)),
        Argument::Read(plan),
        Argument::write(&mut result),
        Argument::size(batch),
        Argument::Int(number),
    ];
    launch("reduce", 1, &mut arguments)?;
    Ok((result, gradient))
}

#[cfg(test)]
mod tests {
    use super::super::{CtcReduction, Geometry, cpu};
    use super::{forward, plan};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    fn geometry(frames: usize, blank: usize, zero_infinity: bool) -> Geometry {
        // Repeated labels, no label, more labels than threads of a warp, no room, no frames.
        let mut targets: Vec<Vec<u32>> =
            vec![vec![1, 1, 2], vec![], vec![2, 1, 2], vec![1], vec![2; 9]];
        targets.push((0..35).map(|index| 1 + index % 2).collect());
        let ends = targets.iter().scan(0, |end, target| {
            *end += target.len();
            Some(*end)
        });
        let relabel = |label: u32| if label as usize == blank { 0 } else { label };
        Geometry {
            frames,
            classes: 3,
            blank,
            zero_infinity,
            input_lengths: vec![
                frames,
                frames,
                frames - frames / 3,
                0,
                frames.min(9),
                frames,
            ],
            ends: ends.collect(),
            targets: targets.concat().into_iter().map(relabel).collect(),
        }
    }

    #[test]
    fn emulated_losses_equal_the_specification() {
        emulate("ctc_loss/ctc_loss.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (frames, blank, zero_infinity) in
                    [(40, 0, false), (5, 2, true), (1, 0, false), (0, 0, false)]
                {
                    let geometry = geometry(frames, blank, zero_infinity);
                    let raw = numbers("log_probs", frames * 6 * 3);
                    let raw: Vec<f64> = raw.iter().map(|value| value - 1.5).collect();
                    let log_probs = rounded(&raw, dtype);
                    let on_gpu = gpu.upload(&log_probs, dtype);
                    let words: Vec<f64> = plan(&geometry).into_iter().map(f64::from).collect();
                    let words = gpu.upload(&words, DType::U32);
                    for reduction in [CtcReduction::None, CtcReduction::Mean, CtcReduction::Sum] {
                        let (x, words) = (gpu.view(&on_gpu), gpu.view(&words));
                        let found = forward(gpu, x, words, &geometry, reduction, true).unwrap();
                        let weights = geometry.weights(reduction);
                        let (losses, gradient) =
                            cpu::forward::<f64>(&log_probs, &geometry, Some(&weights));
                        let expected = match reduction {
                            CtcReduction::None => losses,
                            _ => vec![
                                losses
                                    .iter()
                                    .zip(&weights)
                                    .map(|(loss, weight)| loss * weight)
                                    .sum(),
                            ],
                        };
                        let what = format!("{dtype:?} {frames} frames, {reduction:?}");
                        let value = gpu.download(&found.0);
                        assert_close(&format!("loss, {what}"), &value, &expected, tolerance);
                        let (gradient, on_gpu) = (gradient.unwrap(), found.1.unwrap());
                        let of_gpu = gpu.download(&on_gpu);
                        assert_close(&format!("gradient, {what}"), &of_gpu, &gradient, tolerance);
                        let untracked =
                            forward(gpu, x, words, &geometry, reduction, false).unwrap();
                        assert!(untracked.1.is_none());
                        let again = gpu.download(&untracked.0);
                        assert_close(&format!("loss alone, {what}"), &again, &expected, tolerance);
                    }
                }
            }
        });
    }
}
