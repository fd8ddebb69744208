//! Resizing: definition, derivatives, PyTorch, refusals.

use crate::golden::Golden;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{resize_bilinear2d, resize_nearest1d, resize_nearest2d};

/// What resizing means: the four elements of every output, one by one.
fn bilinear_by_definition(
    x: &Tensor,
    (rows, columns): (usize, usize),
    align: bool,
) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let values = x.flatten_all()?.to_vec1::<f64>()?;
    let place = |index: usize, input: usize, output: usize| {
        let at = match (align, output) {
            (true, 1) => 0.0,
            (true, _) => index as f64 * (input - 1) as f64 / (output - 1) as f64,
            _ => ((index as f64 + 0.5) * input as f64 / output as f64 - 0.5).max(0.0),
        };
        let at = at.min((input - 1) as f64);
        let low = at.floor() as usize;
        (low, (low + 1).min(input - 1), at - low as f64)
    };
    let mut output = Vec::new();
    for plane in values.chunks(height * width) {
        for row in 0..rows {
            for column in 0..columns {
                let (top, bottom, down) = place(row, height, rows);
                let (left, right, along) = place(column, width, columns);
                let at = |y: usize, x: usize| plane[y * width + x];
                output.push(
                    (1.0 - down) * ((1.0 - along) * at(top, left) + along * at(top, right))
                        + down * ((1.0 - along) * at(bottom, left) + along * at(bottom, right)),
                );
            }
        }
    }
    Tensor::from_vec(output, (batch, channels, rows, columns), x.device())
}

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?
        .abs()?
        .max_all()?
        .to_scalar::<f64>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bilinear_is_its_definition(
        images in (1usize..3, 1usize..4),
        input in (1usize..40, 1usize..40),
        output in (1usize..60, 1usize..60),
        align in any::<bool>(),
    ) {
        let x = uniform("resize", 0, &[images.0, images.1, input.0, input.1], -1.0, 1.0).unwrap();
        let expected = bilinear_by_definition(&x, output, align).unwrap();
        let found = resize_bilinear2d(&x, output, align).unwrap();
        prop_assert!(distance(&found, &expected).unwrap() < 1e-12);
        let single = resize_bilinear2d(&x.to_dtype(DType::F32).unwrap(), output, align).unwrap();
        prop_assert!(distance(&single, &expected).unwrap() < 1e-4);
    }

    #[test]
    fn derivatives(input in (1usize..9, 1usize..9), output in (1usize..19, 1usize..19), align in any::<bool>()) {
        let x = Var::from_tensor(&uniform("resize", 1, &[2, 1, input.0, input.1], -1.0, 1.0).unwrap()).unwrap();
        check_gradient(&x, 1e-6, || weighted_sum(&resize_bilinear2d(&x, output, align)?)).unwrap();
        check_gradient(&x, 1e-6, || weighted_sum(&resize_nearest2d(&x, output)?)).unwrap();
    }

    /// Σ dy·f(x) = Σ fᵀ(dy)·x, in f32, for sizes where strips and vectors matter.
    #[test]
    fn gradients_are_transposes(input in (1usize..70, 1usize..300), output in (1usize..70, 1usize..300), method in 0..3) {
        let x = Var::from_tensor(&uniform("resize", 2, &[2, 2, input.0, input.1], -1.0, 1.0).unwrap().to_dtype(DType::F32).unwrap()).unwrap();
        let resize = |x: &Tensor| match method {
            2 => resize_nearest2d(x, output),
            align => resize_bilinear2d(x, output, align == 1),
        };
        let y = resize(&x).unwrap();
        let dy = uniform("resize", 3, y.dims(), -1.0, 1.0).unwrap().to_dtype(DType::F32).unwrap();
        let dx = (&y * &dy).unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        let product = |a: &Tensor, b: &Tensor| -> f64 {
            let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            (wide(a) * wide(b)).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let scale = (y.elem_count() as f64).sqrt();
        prop_assert!((product(&y, &dy) - product(&x, &dx)).abs() < 1e-5 * scale);
    }
}

#[test]
fn views_and_repeated_use() -> Result<()> {
    let x = Var::from_tensor(&uniform("resize", 4, &[5, 2, 4, 3], -1.0, 1.0)?)?;
    check_gradient(&x, 1e-6, || {
        let turned = x.permute((3, 1, 0, 2))?.narrow(2, 1, 3)?;
        let (smooth, copied) = (
            resize_bilinear2d(&turned, (4, 7), false)?,
            resize_nearest2d(&turned, (4, 7))?,
        );
        weighted_sum(&(smooth * copied)?.transpose(1, 3)?)
    })?;
    let x = Var::from_tensor(&uniform("resize", 5, &[2, 3, 5], -1.0, 1.0)?)?;
    for size in [1, 3, 5, 10, 12] {
        check_gradient(&x, 1e-6, || weighted_sum(&resize_nearest1d(&x, size)?))?;
    }
    Ok(())
}

#[test]
fn results_are_pytorchs() -> anyhow::Result<()> {
    let golden = Golden::load("resize")?;
    for size in [
        (1, 1),
        (1, 5),
        (7, 9),
        (14, 18),
        (14, 9),
        (21, 27),
        (4, 4),
        (3, 13),
        (16, 2),
        (8, 31),
    ] {
        for label in ["plain", "special"] {
            let name = format!("{}x{}/{label}", size.0, size.1);
            for align in [false, true] {
                let case = format!("bilinear{}/{name}", u8::from(align));
                golden.check(&case, &["x"], |vars| {
                    resize_bilinear2d(&vars[0], size, align)
                })?;
            }
            golden.check(&format!("nearest/{name}"), &["x"], |vars| {
                resize_nearest2d(&vars[0], size)
            })?;
        }
    }
    for length in 1..=80 {
        let line = Tensor::arange(0f32, length as f32, &Device::Cpu)?.reshape((1, 1, length))?;
        let mut found = Vec::new();
        for size in 1..=80 {
            let copied = resize_nearest1d(&line, size)?.flatten_all()?;
            found.extend(
                copied
                    .to_vec1::<f32>()?
                    .into_iter()
                    .map(|value| value as u8),
            );
        }
        let expected = golden
            .get(&format!("nearest1d/{length}"))?
            .to_vec1::<u8>()?;
        assert!(found == expected, "length {length}");
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_thread_count() -> Result<()> {
    let x = uniform("resize", 6, &[2, 3, 90, 110], -1.0, 1.0)?.to_dtype(DType::F32)?;
    let x = Var::from_tensor(&x)?;
    let passes = || -> Result<Vec<Vec<u32>>> {
        let mut all = Vec::new();
        for size in [(180, 220), (33, 270)] {
            for y in [
                resize_bilinear2d(&x, size, false)?,
                resize_nearest2d(&x, size)?,
            ] {
                let gradients = y.sqr()?.sum_all()?.backward()?;
                for t in [&y, gradients.get(&x).expect("dx")] {
                    let values = t.flatten_all()?.to_vec1::<f32>()?;
                    all.push(values.into_iter().map(f32::to_bits).collect());
                }
            }
        }
        Ok(all)
    };
    taper_kernels::threads::set_threads(1);
    let one = passes()?;
    for threads in [2, 3] {
        taper_kernels::threads::set_threads(threads);
        assert!(passes()? == one);
    }
    taper_kernels::threads::set_threads(0);
    Ok(())
}

#[test]
fn empty_batches_stay_empty() -> Result<()> {
    for dims in [[0, 3, 4, 5], [2, 0, 4, 5]] {
        let x = Var::zeros(&dims, DType::F32, &Device::Cpu)?;
        for y in [
            resize_bilinear2d(&x, (3, 9), true)?,
            resize_nearest2d(&x, (3, 9))?,
        ] {
            assert_eq!(y.dims(), [dims[0], dims[1], 3, 9]);
            let gradients = y.sum_all()?.backward()?;
            assert_eq!(gradients.get(&x).expect("dx").dims(), dims);
        }
    }
    Ok(())
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let message = result.map(|_| ()).expect_err("an error").to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

#[test]
fn wrong_arguments_are_refused() -> Result<()> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu);
    let x = zeros(&[1, 2, 3, 4])?;
    refused(
        resize_bilinear2d(&zeros(&[2, 3, 4])?, (2, 2), false),
        &[
            "resize_bilinear2d",
            "`x`",
            "[2, 3, 4]",
            "[batch, channels, height, width]",
        ],
    );
    refused(
        resize_nearest1d(&x, 2),
        &["resize_nearest1d", "`x`", "[batch, channels, length]"],
    );
    refused(
        resize_nearest2d(&x, (0, 2)),
        &["resize_nearest2d", "`output height` is 0"],
    );
    refused(
        resize_bilinear2d(&x, (2, 0), true),
        &["resize_bilinear2d", "`output width` is 0"],
    );
    refused(
        resize_bilinear2d(&zeros(&[1, 2, 3, 0])?, (2, 2), true),
        &["`x's width` is 0"],
    );
    refused(
        resize_nearest2d(&x.to_dtype(DType::U8)?, (2, 2)),
        &["resize_nearest2d", "U8"],
    );
    Ok(())
}
