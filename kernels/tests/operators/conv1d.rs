//! Convolution along one axis, plain and transposed: definition, derivatives, PyTorch, refusals.

use crate::golden::Golden;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{
    Conv1dGeometry, ConvTranspose1dGeometry, conv_transpose1d, conv1d, conv1d_input_gradient,
    conv1d_weight_gradient,
};

/// Batch, channels in and out, length and kernel.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    channels: (usize, usize),
    length: usize,
    kernel: usize,
}

const fn sizes(batch: usize, channels: (usize, usize), length: usize, kernel: usize) -> Sizes {
    Sizes {
        batch,
        channels,
        length,
        kernel,
    }
}

const fn geometry(
    stride: usize,
    padding: (usize, usize),
    dilation: usize,
    groups: usize,
) -> Conv1dGeometry {
    Conv1dGeometry {
        stride,
        padding,
        dilation,
        groups,
    }
}

const fn transposed(
    stride: usize,
    padding: usize,
    output_padding: usize,
    dilation: usize,
    groups: usize,
) -> ConvTranspose1dGeometry {
    ConvTranspose1dGeometry {
        stride,
        padding,
        output_padding,
        dilation,
        groups,
    }
}

/// Odd lengths, size 1, strides that do not divide, padding on one side, wide kernels.
const CASES: &[(Sizes, Conv1dGeometry)] = &[
    (sizes(2, (3, 4), 9, 3), geometry(1, (1, 1), 1, 1)),
    (sizes(1, (4, 6), 10, 5), geometry(3, (2, 1), 1, 2)),
    (sizes(2, (3, 3), 7, 4), geometry(1, (3, 0), 1, 3)),
    (sizes(1, (2, 3), 8, 3), geometry(2, (0, 5), 3, 1)),
    (sizes(1, (1, 1), 1, 1), geometry(1, (0, 0), 1, 1)),
    (sizes(2, (2, 2), 1, 3), geometry(1, (1, 1), 1, 1)),
    (sizes(2, (3, 2), 6, 1), geometry(1, (0, 0), 1, 1)),
    (sizes(1, (2, 4), 7, 1), geometry(3, (2, 0), 1, 2)),
    (sizes(2, (4, 8), 12, 2), geometry(5, (0, 0), 1, 4)),
    (sizes(1, (5, 5), 21, 7), geometry(2, (3, 3), 1, 5)),
];

const TRANSPOSED: &[(Sizes, ConvTranspose1dGeometry)] = &[
    (sizes(2, (3, 4), 6, 3), transposed(1, 1, 0, 1, 1)),
    (sizes(1, (4, 6), 5, 5), transposed(3, 2, 2, 1, 2)),
    (sizes(2, (3, 3), 4, 4), transposed(2, 1, 1, 1, 3)),
    (sizes(1, (2, 3), 4, 3), transposed(2, 0, 2, 3, 1)),
    (sizes(1, (1, 1), 1, 1), transposed(1, 0, 0, 1, 1)),
    (sizes(2, (3, 2), 5, 1), transposed(4, 1, 3, 1, 1)),
    (sizes(1, (2, 4), 3, 2), transposed(5, 0, 0, 1, 2)),
];

impl Sizes {
    fn input(&self) -> [usize; 3] {
        [self.batch, self.channels.0, self.length]
    }

    fn weight(&self, groups: usize) -> [usize; 3] {
        [self.channels.1, self.channels.0 / groups, self.kernel]
    }

    fn transposed_weight(&self, groups: usize) -> [usize; 3] {
        [self.channels.0, self.channels.1 / groups, self.kernel]
    }
}

fn random(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("conv1d", index, dims, -1.0, 1.0)
}

fn var(index: u64, dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&random(index, dims)?)
}

/// The convolution, every product one by one.
fn by_definition(x: &Tensor, w: &Tensor, bias: &Tensor, g: &Conv1dGeometry) -> Result<Tensor> {
    let (batch, channels, length) = x.dims3()?;
    let (outputs, group_in, kernel) = w.dims3()?;
    let positions = g.output_length(length, kernel).expect("a kernel that fits");
    let (x, w, bias) = (values(x)?, values(w)?, values(bias)?);
    let mut y = Vec::new();
    for index in 0..batch * outputs * positions {
        let (n, k, p) = (
            index / positions / outputs,
            index / positions % outputs,
            index % positions,
        );
        let mut sum = bias[k];
        for c in 0..group_in {
            let channel = k / (outputs / g.groups) * group_in + c;
            for t in 0..kernel {
                let at = (p * g.stride + t * g.dilation).wrapping_sub(g.padding.0);
                if at < length {
                    sum += w[(k * group_in + c) * kernel + t]
                        * x[(n * channels + channel) * length + at];
                }
            }
        }
        y.push(sum);
    }
    Tensor::from_vec(y, (batch, outputs, positions), &Device::Cpu)
}

/// The transposed convolution: every input element spread by hand.
fn transposed_by_definition(
    x: &Tensor,
    w: &Tensor,
    bias: &Tensor,
    g: &ConvTranspose1dGeometry,
) -> Result<Tensor> {
    let (batch, channels, length) = x.dims3()?;
    let (_, group_out, kernel) = w.dims3()?;
    let (outputs, group_in) = (group_out * g.groups, channels / g.groups);
    let positions = g.output_length(length, kernel).expect("an output");
    let (x, w, bias) = (values(x)?, values(w)?, values(bias)?);
    let mut y: Vec<f64> = (0..batch * outputs * positions)
        .map(|index| bias[index / positions % outputs])
        .collect();
    for n in 0..batch {
        for c in 0..channels {
            for i in 0..length {
                for k in 0..group_out {
                    for t in 0..kernel {
                        let at = (i * g.stride + t * g.dilation).wrapping_sub(g.padding);
                        if at < positions {
                            let plane = n * outputs + c / group_in * group_out + k;
                            y[plane * positions + at] += w[(c * group_out + k) * kernel + t]
                                * x[(n * channels + c) * length + i];
                        }
                    }
                }
            }
        }
    }
    Tensor::from_vec(y, (batch, outputs, positions), &Device::Cpu)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
}

/// The largest difference, relative to the root mean square of what is expected.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found)?, values(expected)?);
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let scale = (square / expected.len().max(1) as f64).sqrt().max(1e-30);
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    Ok(differences.fold(
        0.0,
        |most, next| if next.is_nan() { next } else { most.max(next) },
    ) / scale)
}

#[test]
fn derivatives() -> Result<()> {
    for (sizes, g) in CASES {
        let (x, w) = (var(1, &sizes.input())?, var(2, &sizes.weight(g.groups))?);
        let bias = var(3, &[sizes.channels.1])?;
        for argument in [&x, &w, &bias] {
            check_gradient(argument, 1e-6, || {
                weighted_sum(&conv1d(&x, &w, Some(&bias), g)?)
            })?;
        }
        check_gradient(&w, 1e-6, || weighted_sum(&conv1d(&x, &w, None, g)?))?;
    }
    Ok(())
}

#[test]
fn derivatives_of_the_transposed() -> Result<()> {
    for (sizes, g) in TRANSPOSED {
        let weight = sizes.transposed_weight(g.groups);
        let (x, w) = (var(1, &sizes.input())?, var(2, &weight)?);
        let bias = var(3, &[sizes.channels.1])?;
        for argument in [&x, &w, &bias] {
            check_gradient(argument, 1e-6, || {
                weighted_sum(&conv_transpose1d(&x, &w, Some(&bias), g)?)
            })?;
        }
        check_gradient(&x, 1e-6, || {
            weighted_sum(&conv_transpose1d(&x, &w, None, g)?)
        })?;
    }
    Ok(())
}

#[test]
fn one_tensor_as_input_and_weight() -> Result<()> {
    let x = var(4, &[3, 3, 5])?;
    check_gradient(&x, 1e-6, || {
        weighted_sum(&conv1d(&x, &x, None, &Conv1dGeometry::with(1, 2))?)
    })?;
    check_gradient(&x, 1e-6, || {
        weighted_sum(&conv_transpose1d(
            &x,
            &x,
            None,
            &ConvTranspose1dGeometry::with(2, 1),
        )?)
    })
}

#[test]
fn views_are_read_in_their_order() -> Result<()> {
    let (x, w) = (var(5, &[2, 9, 4])?, var(6, &[3, 4, 6])?);
    let bias = var(7, &[12])?;
    let every_second = || bias.reshape((6, 2))?.narrow(1, 1, 1)?.squeeze(1);
    for argument in [&x, &w, &bias] {
        check_gradient(argument, 1e-6, || {
            let (x, w) = (x.transpose(1, 2)?, w.transpose(0, 2)?);
            let y = conv1d(&x, &w, Some(&every_second()?), &Conv1dGeometry::with(2, 1))?;
            let expected = by_definition(&x, &w, &every_second()?, &Conv1dGeometry::with(2, 1))?;
            assert!(error(&y, &expected)? < 1e-12);
            weighted_sum(&y.transpose(0, 2)?)
        })?;
    }
    Ok(())
}

prop_compose! {
    /// Channels are those of a group.
    fn problems(channels: usize, length: usize)(
        batch in 1usize..4,
        group in (1..channels, 1..channels),
        groups in 1usize..4,
        depthwise in any::<bool>(),
        kernel in 1usize..9,
        dilation in 1usize..4,
        stride in 1usize..5,
        padding in (0usize..9, 0usize..9),
        more in 0..length,
        extra in 0usize..4,
    ) -> (Sizes, Conv1dGeometry, usize) {
        let group = if depthwise { (1, 1) } else { group };
        let groups = if depthwise { groups * 7 } else { groups };
        let span = (kernel - 1) * dilation + 1;
        let length = span.saturating_sub(padding.0 + padding.1).max(1) + more;
        (sizes(batch, (group.0 * groups, group.1 * groups), length, kernel), geometry(stride, padding, dilation, groups), extra)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conv1d_is_its_definition((sizes, g, _) in problems(40, 70)) {
        let (x, w) = (random(1, &sizes.input()).unwrap(), random(2, &sizes.weight(g.groups)).unwrap());
        let bias = random(3, &[sizes.channels.1]).unwrap();
        let expected = by_definition(&x, &w, &bias, &g).unwrap();
        prop_assert!(error(&conv1d(&x, &w, Some(&bias), &g).unwrap(), &expected).unwrap() < 1e-12);
        let narrow = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let y = conv1d(&narrow(&x), &narrow(&w), Some(&narrow(&bias)), &g).unwrap();
        prop_assert!(error(&y, &expected).unwrap() < 1e-5);
        let dy = random(4, y.dims()).unwrap();
        let shapes = (x.dims3().unwrap(), w.dims3().unwrap());
        let dx = conv1d_input_gradient(&dy, &w, shapes.0, &g).unwrap();
        let dx32 = conv1d_input_gradient(&narrow(&dy), &narrow(&w), shapes.0, &g).unwrap();
        prop_assert!(error(&dx32, &dx).unwrap() < 1e-5);
        let dw = conv1d_weight_gradient(&x, &dy, shapes.1, &g).unwrap();
        let dw32 = conv1d_weight_gradient(&narrow(&x), &narrow(&dy), shapes.1, &g).unwrap();
        prop_assert!(error(&dw32, &dw).unwrap() < 1e-5);
    }

    #[test]
    fn conv_transpose1d_is_its_definition((sizes, g, extra) in problems(30, 40)) {
        let t = transposed(g.stride, g.padding.0, extra.min(g.stride.max(g.dilation) - 1), g.dilation, g.groups);
        prop_assume!(t.output_length(sizes.length, sizes.kernel).is_some());
        let (x, w) = (random(1, &sizes.input()).unwrap(), random(2, &sizes.transposed_weight(g.groups)).unwrap());
        let bias = random(3, &[sizes.channels.1]).unwrap();
        let expected = transposed_by_definition(&x, &w, &bias, &t).unwrap();
        prop_assert!(error(&conv_transpose1d(&x, &w, Some(&bias), &t).unwrap(), &expected).unwrap() < 1e-12);
        let narrow = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let y = conv_transpose1d(&narrow(&x), &narrow(&w), Some(&narrow(&bias)), &t).unwrap();
        prop_assert!(error(&y, &expected).unwrap() < 1e-5);
    }
}

#[test]
fn single_precision_of_large_shapes() -> Result<()> {
    for (sizes, g) in [
        (sizes(2, (64, 48), 200, 1), geometry(1, (0, 0), 1, 1)),
        (sizes(3, (256, 130), 77, 1), geometry(1, (0, 0), 1, 1)),
        (sizes(1, (1, 16), 3001, 31), geometry(2, (15, 15), 1, 1)),
        (sizes(8, (32, 48), 16, 31), geometry(2, (15, 15), 1, 1)),
        (sizes(5, (16, 32), 20, 4), geometry(3, (2, 0), 2, 1)),
        (sizes(4, (64, 96), 9, 3), geometry(1, (1, 1), 1, 2)),
        (sizes(1, (144, 256), 60, 31), geometry(1, (15, 15), 1, 1)),
        (sizes(6, (144, 272), 16, 31), geometry(2, (15, 15), 1, 1)),
        (sizes(2, (32, 64), 512, 31), geometry(2, (15, 15), 1, 1)),
        (sizes(5, (128, 160), 16, 31), geometry(2, (15, 15), 1, 1)),
        (sizes(3, (96, 96), 333, 5), geometry(1, (4, 0), 1, 1)),
        (sizes(3, (80, 112), 301, 3), geometry(2, (1, 1), 2, 1)),
        (sizes(2, (96, 64), 50, 3), geometry(3, (1, 0), 1, 2)),
        (sizes(4, (40, 40), 203, 15), geometry(1, (7, 7), 1, 40)),
        (sizes(2, (33, 33), 205, 31), geometry(1, (15, 15), 1, 33)),
        (sizes(1, (20, 20), 5000, 9), geometry(1, (16, 0), 2, 20)),
        (sizes(2, (20, 20), 1000, 8), geometry(3, (3, 4), 1, 20)),
    ] {
        let narrow = |t: &Tensor| t.to_dtype(DType::F32);
        let (x, w) = (
            random(1, &sizes.input())?,
            random(2, &sizes.weight(g.groups))?,
        );
        let bias = random(3, &[sizes.channels.1])?;
        let y = conv1d(&x, &w, Some(&bias), &g)?;
        let dy = random(4, y.dims())?;
        let (x32, w32, dy32) = (narrow(&x)?, narrow(&w)?, narrow(&dy)?);
        for (what, found, expected) in [
            ("y", conv1d(&x32, &w32, Some(&narrow(&bias)?), &g)?, y),
            (
                "dx",
                conv1d_input_gradient(&dy32, &w32, x.dims3()?, &g)?,
                conv1d_input_gradient(&dy, &w, x.dims3()?, &g)?,
            ),
            (
                "dw",
                conv1d_weight_gradient(&x32, &dy32, w.dims3()?, &g)?,
                conv1d_weight_gradient(&x, &dy, w.dims3()?, &g)?,
            ),
        ] {
            let error = error(&found, &expected)?;
            assert!(error < 2e-5, "{what} of {sizes:?} {g:?}: {error:e}");
        }
    }
    Ok(())
}

#[test]
fn results_are_pytorchs() -> anyhow::Result<()> {
    let golden = Golden::load("conv1d")?;
    let inputs = ["x", "weight", "bias"];
    for (name, g) in [
        ("plain", Conv1dGeometry::default()),
        ("strided", geometry(3, (2, 2), 1, 2)),
        ("dilated", geometry(2, (3, 3), 4, 1)),
        ("depthwise", Conv1dGeometry::with(1, 4).grouped(6)),
        ("multiplier", Conv1dGeometry::with(2, 1).grouped(3)),
        ("same_even", Conv1dGeometry::same(4, 3)),
    ] {
        golden.check(&format!("conv1d/{name}"), &inputs, |vars| {
            conv1d(&vars[0], &vars[1], Some(&vars[2]), &g)
        })?;
    }
    for (name, g) in [
        ("plain", ConvTranspose1dGeometry::default()),
        ("strided", transposed(2, 2, 1, 1, 2)),
        ("dilated", transposed(2, 1, 3, 4, 1)),
        ("depthwise", transposed(3, 4, 2, 1, 6)),
        ("cut", ConvTranspose1dGeometry::with(4, 2)),
    ] {
        golden.check(&format!("conv_transpose1d/{name}"), &inputs, |vars| {
            conv_transpose1d(&vars[0], &vars[1], Some(&vars[2]), &g)
        })?;
    }
    Ok(())
}

#[test]
fn nan_and_infinity_reach_what_they_touch() -> Result<()> {
    let g = Conv1dGeometry::same(3, 1).grouped(16);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = vec![1f32; 16 * 50];
        x[3 * 50 + 20] = bad;
        let x = Tensor::from_vec(x, (1, 16, 50), &Device::Cpu)?;
        let w = Tensor::ones((16, 1, 3), DType::F32, &Device::Cpu)?;
        let y = conv1d(&x, &w, None, &g)?.flatten_all()?.to_vec1::<f32>()?;
        for (index, value) in y.iter().enumerate() {
            let touched = (3 * 50 + 19..=3 * 50 + 21).contains(&index);
            assert_eq!(value.is_finite(), !touched, "{bad} at {index}: {value}");
        }
    }
    Ok(())
}

#[test]
fn an_empty_batch_gives_an_empty_output_and_zero_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::zeros((0, 4, 9), dtype, &Device::Cpu)?;
        let (w, bias) = (
            Var::ones((4, 4, 3), dtype, &Device::Cpu)?,
            Var::ones(4, dtype, &Device::Cpu)?,
        );
        for y in [
            conv1d(&x, &w, Some(&bias), &Conv1dGeometry::with(1, 1))?,
            conv_transpose1d(&x, &w, Some(&bias), &ConvTranspose1dGeometry::with(1, 1))?,
        ] {
            assert_eq!(y.dims(), &[0, 4, 9]);
            let gradients = y.sum_all()?.backward()?;
            assert_eq!(gradients.get(&x).expect("dx").dims(), x.dims());
            for var in [&w, &bias] {
                let gradient = gradients.get(var).expect("a gradient");
                assert_eq!(gradient.dims(), var.dims());
                assert_eq!(values(&gradient.abs()?.sum_all()?)?, [0.0]);
            }
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_thread_count() -> Result<()> {
    let bits = |t: Tensor| -> Result<Vec<u32>> {
        Ok(t.flatten_all()?
            .to_vec1::<f32>()?
            .into_iter()
            .map(f32::to_bits)
            .collect())
    };
    for (sizes, g) in [
        (sizes(3, (64, 32), 100, 1), Conv1dGeometry::default()),
        (sizes(2, (32, 32), 300, 31), Conv1dGeometry::with(2, 15)),
        (sizes(3, (128, 256), 16, 9), Conv1dGeometry::with(2, 4)),
        (sizes(5, (144, 272), 16, 31), Conv1dGeometry::with(2, 15)),
        (
            sizes(3, (48, 48), 200, 15),
            Conv1dGeometry::same(15, 1).grouped(48),
        ),
    ] {
        let (x, w) = (
            random(1, &sizes.input())?,
            random(2, &sizes.weight(g.groups))?,
        );
        let (x, w) = (x.to_dtype(DType::F32)?, w.to_dtype(DType::F32)?);
        let passes = || -> Result<[Vec<u32>; 3]> {
            let y = conv1d(&x, &w, None, &g)?;
            let dx = conv1d_input_gradient(&y, &w, x.dims3()?, &g)?;
            let dw = conv1d_weight_gradient(&x, &y, w.dims3()?, &g)?;
            Ok([bits(y)?, bits(dx)?, bits(dw)?])
        };
        taper_kernels::threads::set_threads(1);
        let one = passes()?;
        for threads in [2, 3] {
            taper_kernels::threads::set_threads(threads);
            assert!(passes()? == one, "{sizes:?} {g:?}");
        }
        taper_kernels::threads::set_threads(0);
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
    let (x, w, plain) = (
        zeros(&[2, 4, 9])?,
        zeros(&[6, 4, 3])?,
        Conv1dGeometry::default(),
    );
    refused(
        conv1d(&zeros(&[4, 9])?, &w, None, &plain),
        &["conv1d", "`input`", "[4, 9]", "[batch, in, length]"],
    );
    refused(
        conv1d(&x, &zeros(&[6, 3, 3])?, None, &plain),
        &["conv1d", "`weight`", "[6, 3, 3]", "4 input channels"],
    );
    refused(
        conv1d(&x, &zeros(&[5, 2, 3])?, None, &plain.grouped(2)),
        &["`weight`", "2 groups divide"],
    );
    refused(
        conv1d(&x, &w, Some(&zeros(&[4])?), &plain),
        &["`bias`", "[4]", "[6]"],
    );
    refused(
        conv1d(&x, &w.to_dtype(DType::F64)?, None, &plain),
        &["`weight`", "F64"],
    );
    refused(
        conv1d(&x.to_dtype(DType::U32)?, &w, None, &plain),
        &["`input`", "U32"],
    );
    refused(
        conv1d(&x, &w, None, &geometry(0, (0, 0), 1, 1)),
        &["`geometry.stride` is 0"],
    );
    refused(
        conv1d(&x, &w, None, &geometry(1, (0, 0), 0, 1)),
        &["`geometry.dilation` is 0"],
    );
    refused(
        conv1d(&x, &w, None, &plain.grouped(0)),
        &["`geometry.groups` is 0"],
    );
    refused(
        conv1d(&x, &zeros(&[6, 4, 0])?, None, &plain),
        &["`kernel length` is 0"],
    );
    refused(
        conv1d(&x, &zeros(&[6, 4, 10])?, None, &plain),
        &["`weight`", "fits into 9 elements"],
    );
    refused(
        conv1d(&x, &w, None, &geometry(1, (0, 0), usize::MAX, 1)),
        &["fits into 9 elements"],
    );
    refused(
        conv1d_input_gradient(&zeros(&[2, 6, 8])?, &w, (2, 4, 9), &plain),
        &["conv1d_input_gradient", "`gradient`", "[2, 6, 7]"],
    );
    refused(
        conv1d_weight_gradient(&x, &zeros(&[2, 6, 7])?, (6, 2, 3), &plain),
        &["conv1d_weight_gradient", "`weight_shape`", "[6, 2, 3]"],
    );
    let (w, plain) = (zeros(&[4, 3, 3])?, ConvTranspose1dGeometry::default());
    refused(
        conv_transpose1d(&zeros(&[4])?, &w, None, &plain),
        &["conv_transpose1d", "`input`", "[4]"],
    );
    refused(
        conv_transpose1d(&x, &zeros(&[3, 4, 3])?, None, &plain),
        &["`weight`", "4 input channels"],
    );
    refused(
        conv_transpose1d(&x, &zeros(&[4, 3])?, None, &plain),
        &["`weight`", "[in, out/groups, kernel]"],
    );
    refused(
        conv_transpose1d(&x, &w, Some(&zeros(&[4])?), &plain),
        &["`bias`", "[3]"],
    );
    refused(
        conv_transpose1d(&x, &w, None, &transposed(0, 0, 0, 1, 1)),
        &["`geometry.stride` is 0"],
    );
    refused(
        conv_transpose1d(&x, &w, None, &transposed(2, 0, 2, 1, 1)),
        &["output_padding` is 2", "below 2"],
    );
    refused(
        conv_transpose1d(&x, &w, None, &transposed(1, 6, 0, 1, 1)),
        &["`input`", "at least one output element"],
    );
    refused(
        conv_transpose1d(&zeros(&[1, 4, 0])?, &w, None, &plain),
        &["`input`", "at least one output element"],
    );
    Ok(())
}

/// Candle reads the switch for gradients of gradients once a process, so a process of its own checks them.
#[test]
fn gradients_of_gradients() {
    let program = std::env::current_exe().expect("this test program");
    let name = "conv1d::gradients_of_gradients_in_their_process";
    let status = std::process::Command::new(program)
        .args(["--exact", name, "--ignored"])
        .env("CANDLE_GRAD_DO_NOT_DETACH", "1")
        .status()
        .expect("the test program starts");
    assert!(status.success());
}

/// Half the squared length of the gradient in one argument, differentiated in each argument.
#[test]
#[ignore = "run by gradients_of_gradients, with CANDLE_GRAD_DO_NOT_DETACH set"]
fn gradients_of_gradients_in_their_process() -> Result<()> {
    let (x, w, bias) = (var(8, &[2, 4, 6])?, var(9, &[4, 2, 3])?, var(10, &[4])?);
    let plain = || conv1d(&x, &w, Some(&bias), &geometry(2, (1, 2), 2, 2));
    let spread = || conv_transpose1d(&x, &w, Some(&bias), &transposed(2, 1, 1, 2, 2));
    for function in [&plain as &dyn Fn() -> Result<Tensor>, &spread] {
        for inner in [&x, &w, &bias] {
            let length = || -> Result<Tensor> {
                // Not linear, or the gradients would not depend on all arguments.
                let gradients = function()?.sqr()?.sum_all()?.backward()?;
                let gradient = gradients.get(inner).expect("a gradient");
                (gradient.sqr()? * 0.5)?.sum_all()
            };
            for outer in [&x, &w, &bias] {
                check_gradient(outer, 1e-5, length)?;
            }
        }
    }
    Ok(())
}
