//! The CTC loss against all alignments, central differences and PyTorch (`golden/make_ctc_loss.py` made the file).

use candle_core::{D, DType, Device, Result, Tensor, Var};
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::threads::set_threads;
use taper_kernels::{CtcOptions, CtcReduction, ctc_loss, log_softmax};

const NONE: CtcOptions = CtcOptions {
    blank: 0,
    zero_infinity: false,
    reduction: CtcReduction::None,
};

fn padded(targets: &[&[u32]]) -> Result<(Tensor, Vec<usize>)> {
    let longest = targets.iter().map(|target| target.len()).max().unwrap_or(0);
    let rows = targets.iter().flat_map(|target| {
        let padding = std::iter::repeat_n(u32::MAX, longest - target.len());
        target.iter().copied().chain(padding)
    });
    let rows = Tensor::from_vec(rows.collect(), (targets.len(), longest), &Device::Cpu)?;
    Ok((rows, targets.iter().map(|target| target.len()).collect()))
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// What is left of an alignment when repetitions, then blanks are removed.
fn collapsed(alignment: &[u32], blank: u32) -> Vec<u32> {
    let mut labels = alignment.to_vec();
    labels.dedup();
    labels.retain(|&label| label != blank);
    labels
}

/// −ln of the summed probabilities of all alignments of one sample; `rows` holds a frame each.
fn by_enumeration(rows: &[Vec<f64>], target: &[u32], blank: u32) -> f64 {
    let classes = rows.first().map_or(1, Vec::len);
    let mut sum = 0.0;
    for number in 0..classes.pow(rows.len() as u32) {
        let alignment: Vec<u32> = (0..rows.len())
            .map(|frame| (number / classes.pow(frame as u32) % classes) as u32)
            .collect();
        if collapsed(&alignment, blank) == target {
            let each = rows.iter().zip(&alignment);
            sum += each
                .map(|(row, &class)| row[class as usize])
                .sum::<f64>()
                .exp();
        }
    }
    -f64::ln(sum)
}

#[test]
fn the_loss_is_the_sum_over_all_alignments() -> Result<()> {
    let targets: &[&[u32]] = &[
        &[],
        &[1],
        &[2, 2],
        &[1, 2, 1],
        &[2, 1, 1],
        &[1, 1, 1],
        &[2, 1, 2, 1],
    ];
    for frames in 0..=6 {
        for (blank, relabel) in [(0, [0, 1, 2]), (2, [2, 0, 1]), (1, [1, 2, 0])] {
            let log_probs = log_softmax(
                &uniform("ctc", frames, &[frames as usize, 7, 3], -2.0, 2.0)?,
                D::Minus1,
            )?;
            let targets: Vec<Vec<u32>> = targets
                .iter()
                .map(|target| {
                    target
                        .iter()
                        .map(|&label| relabel[label as usize])
                        .collect()
                })
                .collect();
            let slices: Vec<&[u32]> = targets.iter().map(Vec::as_slice).collect();
            let (rows, lengths) = padded(&slices)?;
            // The last two samples have a frame less, where there is one.
            let inputs: Vec<usize> = (0..7)
                .map(|sample| (frames as usize).saturating_sub(usize::from(sample > 4)))
                .collect();
            let options = CtcOptions {
                blank: blank as usize,
                ..NONE
            };
            let found = values(&ctc_loss(&log_probs, &rows, &inputs, &lengths, &options)?)?;
            for sample in 0..7 {
                let of_sample: Vec<Vec<f64>> = (0..inputs[sample])
                    .map(|frame| log_probs.get(frame)?.get(sample)?.to_vec1())
                    .collect::<Result<_>>()?;
                let expected = by_enumeration(&of_sample, slices[sample], blank);
                let same = found[sample] == expected || (found[sample] - expected).abs() < 1e-12;
                assert!(
                    same,
                    "{frames} frames, {:?}: {} for {expected}",
                    slices[sample], found[sample]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_gradient_is_the_derivative() -> Result<()> {
    for (frames, targets) in [
        (1, vec![&[][..], &[2]]),
        (5, vec![&[1, 1], &[2, 1, 3], &[][..], &[3, 3]]),
        (9, vec![&[1, 2, 2, 1]]),
        (40, vec![&[1, 2, 3, 1, 2, 3, 1, 1, 2, 3, 3][..], &[2]]),
    ] {
        let batch = targets.len();
        let x = Var::from_tensor(&uniform("ctc", 20, &[frames, batch, 4], -3.0, 1.0)?)?;
        let (rows, lengths) = padded(&targets)?;
        let inputs: Vec<usize> = (0..batch)
            .map(|sample| frames - sample.min(frames - 1) / 3)
            .collect();
        for reduction in [CtcReduction::None, CtcReduction::Mean, CtcReduction::Sum] {
            let options = CtcOptions { reduction, ..NONE };
            check_gradient(&x, 1e-6, || {
                weighted_sum(&ctc_loss(&x, &rows, &inputs, &lengths, &options)?)
            })?;
        }
        // A strided view, used twice.
        let wide = Var::from_tensor(&uniform("ctc", 21, &[batch, 4, frames + 1], -2.0, 0.0)?)?;
        check_gradient(&wide, 1e-6, || {
            let view = wide.permute((2, 0, 1))?.narrow(0, 1, frames)?;
            let loss = ctc_loss(&view, &rows, &inputs, &lengths, &CtcOptions::default())?;
            loss * wide.sqr()?.sum_all()?
        })?;
    }
    Ok(())
}

struct Golden(std::collections::HashMap<String, Tensor>);

impl Golden {
    fn get(&self, name: &str) -> Result<&Tensor> {
        self.0
            .get(name)
            .ok_or_else(|| candle_core::Error::msg(format!("no tensor {name}")))
    }

    /// Compares losses and gradients of the logits with those recorded under `case`.
    fn check(
        &self,
        case: &str,
        inputs: &[usize],
        lengths: &[usize],
        options: CtcOptions,
    ) -> Result<()> {
        for (reduction, name) in [
            (CtcReduction::None, "none"),
            (CtcReduction::Mean, "mean"),
            (CtcReduction::Sum, "sum"),
        ] {
            let logits = Var::from_tensor(self.get(&format!("{case}/logits"))?)?;
            let log_probs = log_softmax(&logits, D::Minus1)?;
            let targets = self.get(&format!("{case}/targets"))?;
            let options = CtcOptions {
                reduction,
                ..options
            };
            let losses = ctc_loss(&log_probs, targets, inputs, lengths, &options)?;
            close(case, &losses, self.get(&format!("{case}/{name}/result"))?)?;
            let upstream = self.get(&format!("{case}/{name}/upstream"))?;
            // The gradient of Σ upstream · loss; an infinite loss makes the sum NaN, not the gradients.
            let gradients = (losses * upstream)?.sum_all()?.backward()?;
            let found = gradients.get(&logits).unwrap();
            close(case, found, self.get(&format!("{case}/{name}/grad"))?)?;
        }
        Ok(())
    }
}

/// Equal to 2e-5 of the larger of 1 and the value; NaN and infinities in the same places.
fn close(case: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    assert_eq!(found.dims(), expected.dims(), "{case}");
    for (index, (found, expected)) in values(found)?
        .into_iter()
        .zip(values(expected)?)
        .enumerate()
    {
        let same = found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
        assert!(
            same,
            "{case}: element {index} is {found}, PyTorch {expected}"
        );
    }
    Ok(())
}

#[test]
fn losses_and_gradients_are_pytorchs() -> Result<()> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/ctc_loss.safetensors"
    );
    let golden = Golden(candle_core::safetensors::load(path, &Device::Cpu)?);
    let (inputs, lengths) = ([12, 7, 12, 1, 9], [5, 3, 0, 1, 4]);
    golden.check("padded", &inputs, &lengths, NONE)?;
    golden.check("concatenated", &inputs, &lengths, NONE)?;
    golden.check(
        "last_blank",
        &inputs,
        &lengths,
        CtcOptions { blank: 3, ..NONE },
    )?;
    golden.check("long", &[60, 55], &[20, 25], NONE)?;
    let (inputs, lengths) = ([2, 2, 4, 0], [3, 2, 3, 0]);
    golden.check("impossible", &inputs, &lengths, NONE)?;
    let zero = CtcOptions {
        zero_infinity: true,
        ..NONE
    };
    golden.check("impossible_is_zero", &inputs, &lengths, zero)
}

/// The textbook's recursion in logarithms.
fn by_logarithms(rows: &[Vec<f64>], target: &[u32]) -> f64 {
    let label = |place: usize| {
        if place.is_multiple_of(2) {
            0
        } else {
            target[place / 2] as usize
        }
    };
    let places = 2 * target.len() + 1;
    let sum = |parts: &[f64]| {
        let most = parts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match most == f64::NEG_INFINITY {
            true => most,
            false => {
                most + parts
                    .iter()
                    .map(|part| (part - most).exp())
                    .sum::<f64>()
                    .ln()
            }
        }
    };
    let mut alpha = vec![f64::NEG_INFINITY; places];
    alpha[0] = rows[0][0];
    if places > 1 {
        alpha[1] = rows[0][label(1)];
    }
    for row in &rows[1..] {
        let before = alpha.clone();
        for place in 0..places {
            let mut parts = vec![before[place]];
            if place > 0 {
                parts.push(before[place - 1]);
            }
            if place > 1 && label(place) != label(place - 2) {
                parts.push(before[place - 2]);
            }
            alpha[place] = sum(&parts) + row[label(place)];
        }
    }
    -sum(&alpha[places.saturating_sub(2)..])
}

#[test]
fn nothing_underflows() -> Result<()> {
    let target: Vec<u32> = (0..300).map(|index| 1 + index * index % 28).collect();
    for (spread, single) in [(1.0, false), (400.0, false), (30.0, true)] {
        let log_probs = log_softmax(
            &uniform("ctc", 30, &[1500, 1, 29], -spread, spread)?,
            D::Minus1,
        )?;
        // Some classes have no probability at all for a while.
        let mut rows = log_probs.squeeze(1)?.to_vec2::<f64>()?;
        for row in &mut rows[500..600] {
            row[7] = f64::NEG_INFINITY;
        }
        if single {
            rows.iter_mut()
                .flatten()
                .for_each(|value| *value = f64::from(*value as f32));
        }
        let expected = by_logarithms(&rows, &target);
        assert!(expected.is_finite() && expected > 750.0);
        let log_probs = Tensor::from_vec(rows.concat(), (1500, 1, 29), &Device::Cpu)?;
        let targets = Tensor::new(target.clone(), &Device::Cpu)?;
        let dtype = if single { DType::F32 } else { DType::F64 };
        let log_probs = Var::from_tensor(&log_probs.to_dtype(dtype)?)?;
        let loss = ctc_loss(&log_probs, &targets, &[1500], &[300], &NONE)?;
        let tolerance = if single { 6e-8 } else { 1e-13 };
        assert!((values(&loss)?[0] / expected - 1.0).abs() < tolerance);
        // In every frame the alignments stand somewhere: the shares add up to 1.
        let gradients = loss.sum_all()?.backward()?;
        let shares = gradients.get(&log_probs).unwrap().sum(2)?;
        for share in values(&shares)? {
            assert!(
                (share + 1.0).abs() < if single { 1e-6 } else { 1e-11 },
                "{share}"
            );
        }
    }
    // Logarithms of any size.
    let far = Tensor::new(&[[[-1e30f32, -2e30]]], &Device::Cpu)?;
    let targets = Tensor::new(&[1u32], &Device::Cpu)?;
    let loss = ctc_loss(&far, &targets, &[1], &[1], &NONE)?;
    assert!((values(&loss)?[0] / 2e30 - 1.0).abs() < 1e-7);
    Ok(())
}

#[test]
fn nan_and_no_probability() -> Result<()> {
    let evaluate = |rows: [[f32; 3]; 2], zero_infinity| -> Result<(f64, Vec<f64>)> {
        let log_probs = Var::new(&rows, &Device::Cpu)?;
        let targets = Tensor::new(&[1u32], &Device::Cpu)?;
        let options = CtcOptions {
            zero_infinity,
            ..NONE
        };
        let loss = ctc_loss(&log_probs.unsqueeze(1)?, &targets, &[2], &[1], &options)?;
        let gradients = loss.sum_all()?.backward()?;
        Ok((
            values(&loss)?[0],
            values(gradients.get(&log_probs).unwrap())?,
        ))
    };
    let all_nan = |values: &[f64]| values.iter().all(|value| value.is_nan());
    let usual = [-1.0, -1.5, -2.0];
    let found = evaluate([usual, [-1.0, f32::NAN, -2.0]], true)?;
    assert!(found.0.is_nan() && all_nan(&found.1));
    // A class that is neither blank nor label is not read.
    let found = evaluate([usual, [-1.0, -0.5, f32::NAN]], false)?;
    assert!(found.0.is_finite() && found.1.iter().all(|value| value.is_finite()));
    let never = f32::NEG_INFINITY;
    let found = evaluate([[-1.0, never, -2.0]; 2], false)?;
    assert!(found.0 == f64::INFINITY && all_nan(&found.1));
    let found = evaluate([[-1.0, never, -2.0]; 2], true)?;
    assert!(found.0 == 0.0 && found.1.iter().all(|&value| value == 0.0));
    let found = evaluate([[-1.0, never, -2.0], usual], false)?;
    assert!((found.0 - 2.5).abs() < 1e-6);
    assert_eq!(found.1, [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]);
    Ok(())
}

#[test]
fn empty_batches_and_frames() -> Result<()> {
    let nobody = Var::zeros((4, 0, 3), DType::F32, &Device::Cpu)?;
    let targets = Tensor::zeros((0, 2), DType::U32, &Device::Cpu)?;
    for (reduction, expected) in [
        (CtcReduction::None, None),
        (CtcReduction::Mean, Some(f64::NAN)),
        (CtcReduction::Sum, Some(0.0)),
    ] {
        let loss = ctc_loss(
            &nobody,
            &targets,
            &[],
            &[],
            &CtcOptions { reduction, ..NONE },
        )?;
        let found = values(&loss)?;
        assert_eq!(
            found.first().map(|value| value.to_bits()),
            expected.map(f64::to_bits)
        );
        assert_eq!(
            loss.sum_all()?.backward()?.get(&nobody).unwrap().dims(),
            [4, 0, 3]
        );
    }
    let no_frames = Var::zeros((0, 2, 3), DType::F32, &Device::Cpu)?;
    let targets = Tensor::new(&[1u32], &Device::Cpu)?;
    let loss = ctc_loss(&no_frames, &targets, &[0, 0], &[1, 0], &NONE)?;
    assert_eq!(values(&loss)?, [f64::INFINITY, 0.0]);
    assert_eq!(
        loss.sum_all()?.backward()?.get(&no_frames).unwrap().dims(),
        [0, 2, 3]
    );
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_and_passes() -> Result<()> {
    let x = uniform("ctc", 40, &[60, 9, 11], -3.0, 3.0)?.to_dtype(DType::F32)?;
    let targets: Vec<u32> = (0..90).map(|index| 1 + index * 7 % 10).collect();
    let targets = Tensor::from_vec(targets, (9, 10), &Device::Cpu)?;
    let lengths: Vec<usize> = (0..9).map(|sample| sample + 1).collect();
    let evaluate = || -> Result<Vec<Vec<f64>>> {
        let x = Var::from_tensor(&x)?;
        let loss = ctc_loss(
            &log_softmax(&x, D::Minus1)?,
            &targets,
            &[60; 9],
            &lengths,
            &CtcOptions::default(),
        )?;
        let whole = loss.affine(3.0, 0.0)?;
        let (first, second) = (whole.backward()?, whole.backward()?);
        let first = values(first.get(&x).unwrap())?;
        assert_eq!(first, values(second.get(&x).unwrap())?);
        // Without a gradient, only two frames are kept: the same loss.
        let untracked = ctc_loss(
            &log_softmax(&x.detach(), D::Minus1)?,
            &targets,
            &[60; 9],
            &lengths,
            &CtcOptions::default(),
        )?;
        assert_eq!(values(&untracked)?, values(&loss)?);
        Ok(vec![values(&loss)?, first])
    };
    set_threads(1);
    let alone = evaluate()?;
    for count in [2, 3] {
        set_threads(count);
        assert!(evaluate()? == alone, "differs at {count} threads");
    }
    set_threads(0);
    Ok(())
}

#[test]
fn wrong_arguments_are_refused() -> Result<()> {
    let log_probs = Tensor::zeros((4, 2, 3), DType::F32, &Device::Cpu)?;
    let targets = Tensor::new(&[[1u32, 2], [2, 1]], &Device::Cpu)?;
    let refused = |result: Result<Tensor>, words: &[&str]| {
        let message = result.expect_err("must be refused").to_string();
        for word in [&["ctc_loss"], words].concat() {
            assert!(
                message.contains(word),
                "{message:?} does not contain {word:?}"
            );
        }
    };
    let loss =
        |log_probs: &Tensor, targets: &Tensor, inputs: &[usize], lengths: &[usize], blank| {
            ctc_loss(
                log_probs,
                targets,
                inputs,
                lengths,
                &CtcOptions { blank, ..NONE },
            )
        };
    assert!(loss(&log_probs, &targets, &[4, 4], &[2, 2], 0).is_ok());
    refused(
        loss(&log_probs.get(0)?, &targets, &[4, 4], &[2, 2], 0),
        &["`log_probs`", "[2, 3]", "[frames, batch, classes]"],
    );
    refused(
        loss(
            &log_probs.to_dtype(DType::U8)?,
            &targets,
            &[4, 4],
            &[2, 2],
            0,
        ),
        &["`log_probs`", "U8"],
    );
    refused(
        loss(&log_probs, &targets, &[4, 4], &[2, 2], 3),
        &["`blank`", "3", "below 3"],
    );
    refused(
        loss(&log_probs, &targets, &[4, 5], &[2, 2], 0),
        &["`input_lengths`", "5", "at most the 4"],
    );
    refused(
        loss(&log_probs, &targets, &[4], &[2, 2], 0),
        &["`input_lengths`", "a list of 1", "2, one for each"],
    );
    refused(
        loss(&log_probs, &targets, &[4, 4], &[2, 3], 0),
        &["`target_lengths`", "3", "at most the 2"],
    );
    refused(
        loss(&log_probs, &targets, &[4, 4], &[2], 0),
        &["`target_lengths`", "a list of 1"],
    );
    refused(
        loss(&log_probs, &targets.flatten_all()?, &[4, 4], &[2, 1], 0),
        &["`targets`", "[4]", "[2, longest] or [3]"],
    );
    refused(
        loss(
            &log_probs,
            &targets.to_dtype(DType::I64)?,
            &[4, 4],
            &[2, 2],
            0,
        ),
        &["`targets`", "I64", "U32"],
    );
    refused(
        loss(&log_probs, &targets, &[4, 4], &[2, 2], 1),
        &["`targets`", "class 1", "other than the blank, 1"],
    );
    let outside = Tensor::new(&[[1u32, 2], [2, 7]], &Device::Cpu)?;
    refused(
        loss(&log_probs, &outside, &[4, 4], &[2, 2], 0),
        &["`targets`", "class 7", "below 3"],
    );
    assert!(loss(&log_probs, &outside, &[4, 4], &[2, 1], 0).is_ok());
    Ok(())
}
