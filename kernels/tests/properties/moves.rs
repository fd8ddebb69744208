//! Copies, sums, gathers, scatters, frames and maxima: results against their definitions, element by element.

use crate::support::{
    Input, View, assert_same, cases, check, check_twice, check_values, values, views,
};
use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use taper_kernels::testing::uniform;
use taper_kernels::{
    copy_strided, embedding, gather, index_select, max_axis, permute, scatter, scatter_add,
    sum_axes, unfold,
};

/// One to four axes, some of length 1 or 0.
fn dims() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![8 => 1usize..6, 1 => Just(0)], 1..5)
}

/// Whole numbers below `bound`, as indices of either type.
fn indices(seed: u64, dims: &[usize], bound: usize, long: bool) -> Tensor {
    let values = uniform("indices", seed, dims, 0.0, bound as f64).unwrap();
    let dtype = if long { DType::I64 } else { DType::U32 };
    values.floor().unwrap().to_dtype(dtype).unwrap()
}

/// The place of every element of a tensor of these dimensions.
fn places(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut places = vec![vec![]];
    for &length in dims {
        places = places
            .iter()
            .flat_map(|place: &Vec<usize>| {
                (0..length).map(move |index| [place.as_slice(), &[index]].concat())
            })
            .collect();
    }
    places
}

/// The number of a place in row-major order.
fn number(dims: &[usize], place: &[usize]) -> usize {
    dims.iter()
        .zip(place)
        .fold(0, |number, (&length, &index)| number * length + index)
}

/// For each element of the index: its own place, and the place it names.
fn moves(index: &Tensor, axis: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let named = values(index);
    places(index.dims())
        .into_iter()
        .zip(named)
        .map(|(place, named)| {
            let mut to = place.clone();
            to[axis] = named as usize;
            (place, to)
        })
        .collect()
}

prop_compose! {
    /// Dimensions, an axis, and the dimensions of an index that fits and is no longer than `more` than x along the axis.
    fn indexed()(dims in dims())(
        axis in 0..dims.len(),
        shorter in prop::collection::vec(0usize..3, dims.len()),
        along in 0usize..6,
        seed in any::<u64>(),
        long in any::<bool>(),
        view in views(),
        dims in Just(dims),
    ) -> (Vec<usize>, usize, Tensor, View) {
        let mut index: Vec<usize> = dims.iter().zip(&shorter).map(|(length, less)| length.saturating_sub(*less)).collect();
        index[axis] = if dims[axis] == 0 { 0 } else { along };
        let index = indices(seed, &index, dims[axis], long);
        (dims, axis, index, view)
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn copies(dims in dims(), view in views(), seed in any::<u64>(), order in Just([3usize, 1, 0, 2]).prop_shuffle()) {
        let x = Input::new(seed, &dims, view);
        check(&[&x], 0.0, |x| copy_strided(&x[0]));
        let tensor = x.tensor().unwrap();
        let copy = copy_strided(&tensor).unwrap();
        prop_assert!(copy.is_contiguous());
        assert_same(&copy, &values(&tensor), 0.0);
        let axes: Vec<usize> = order.into_iter().filter(|&axis| axis < dims.len()).collect();
        check(&[&x], 0.0, |x| permute(&x[0], &axes));
        assert_same(&permute(&tensor, &axes).unwrap(), &values(&tensor.permute(axes).unwrap()), 0.0);
    }

    #[test]
    fn copies_of_all_types(dims in prop::collection::vec(1usize..40, 2..4), seed in any::<u64>()) {
        let x = uniform("copies", seed, &dims, 0.0, 200.0).unwrap();
        for dtype in [DType::U8, DType::U32, DType::I64, DType::BF16, DType::F16, DType::F32, DType::F64] {
            let x = x.to_dtype(dtype).unwrap();
            for view in [x.t().unwrap(), x.transpose(0, 1).unwrap(), x.narrow(dims.len() - 1, dims[dims.len() - 1] / 2, 1).unwrap()] {
                assert_same(&copy_strided(&view).unwrap(), &values(&view), 0.0);
            }
        }
    }

    #[test]
    fn sums(dims in dims(), view in views(), seed in any::<u64>(), mask in 0u32..16) {
        let x = Input::new(seed, &dims, view);
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        check(&[&x], 1e-6, |x| sum_axes(&x[0], &axes));
        let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
        let lengths: Vec<usize> = kept.iter().map(|&axis| dims[axis]).collect();
        let mut expected = vec![0.0; lengths.iter().product()];
        for (place, value) in places(&dims).iter().zip(values(&x.tensor().unwrap())) {
            let place: Vec<usize> = kept.iter().map(|&axis| place[axis]).collect();
            expected[number(&lengths, &place)] += value;
        }
        let sums = sum_axes(&x.tensor().unwrap(), &axes).unwrap();
        prop_assert_eq!(sums.dims(), lengths);
        assert_same(&sums, &expected, 1e-14);
    }

    #[test]
    fn gathers((dims, axis, index, view) in indexed(), seed in any::<u64>()) {
        let x = Input::new(seed, &dims, view);
        check(&[&x], 1e-6, |x| gather(&x[0], axis, &index));
        let data = values(&x.tensor().unwrap());
        let expected: Vec<f64> = moves(&index, axis).iter().map(|(_, from)| data[number(&dims, from)]).collect();
        let found = gather(&x.tensor().unwrap(), axis, &index).unwrap();
        prop_assert_eq!(found.dims(), index.dims());
        assert_same(&found, &expected, 0.0);
    }

    #[test]
    fn selections(dims in dims(), pick in any::<prop::sample::Index>(), count in 0usize..7, long in any::<bool>(), view in views(), seed in any::<u64>()) {
        let axis = pick.index(dims.len());
        let x = Input::new(seed, &dims, view);
        let index = indices(seed, &[if dims[axis] == 0 { 0 } else { count }], dims[axis], long);
        check(&[&x], 1e-6, |x| index_select(&x[0], axis, &index));
        let found = index_select(&x.tensor().unwrap(), axis, &index).unwrap();
        let data = values(&x.tensor().unwrap());
        let chosen = values(&index);
        let expected: Vec<f64> = places(found.dims())
            .into_iter()
            .map(|mut place| {
                place[axis] = chosen[place[axis]] as usize;
                data[number(&dims, &place)]
            })
            .collect();
        assert_same(&found, &expected, 0.0);
    }

    #[test]
    fn embeddings(entries in 1usize..9, features in 0usize..70, shape in prop::collection::vec(0usize..4, 0..3), view in views(), seed in any::<u64>()) {
        let table = Input::new(seed, &[entries, features], view);
        let index = indices(seed, &shape, entries, seed % 2 == 0);
        if features < 5 {
            check(&[&table], 1e-6, |x| embedding(&x[0], &index));
        } else {
            check_values(&[&table], 1e-6, |x| embedding(&x[0], &index));
        }
        let found = embedding(&table.tensor().unwrap(), &index).unwrap();
        let (data, chosen) = (values(&table.tensor().unwrap()), values(&index));
        let rows: Vec<f64> = chosen.iter().flat_map(|&row| data[row as usize * features..][..features].to_vec()).collect();
        prop_assert_eq!(found.dims(), [shape, vec![features]].concat());
        assert_same(&found, &rows, 0.0);
    }

    #[test]
    fn scatters((dims, axis, index, view) in indexed(), longer in 0usize..3, source_view in views(), seed in any::<u64>()) {
        let x = Input::new(seed, &dims, view);
        let source: Vec<usize> = index.dims().iter().map(|length| length + longer).collect();
        let from = Input::new(seed ^ 1, &source, source_view);
        check(&[&x, &from], 1e-6, |t| scatter(&t[0], axis, &index, &t[1]));
        check(&[&x, &from], 1e-6, |t| scatter_add(&t[0], axis, &index, &t[1]));
        let (tensor, given) = (x.tensor().unwrap(), from.tensor().unwrap());
        let (mut replaced, mut added, sources) = (values(&tensor), values(&tensor), values(&given));
        for (place, to) in moves(&index, axis) {
            let value = sources[number(&source, &place)];
            replaced[number(&dims, &to)] = value;
            added[number(&dims, &to)] += value;
        }
        assert_same(&scatter(&tensor, axis, &index, &given).unwrap(), &replaced, 0.0);
        assert_same(&scatter_add(&tensor, axis, &index, &given).unwrap(), &added, 1e-14);
    }

    #[test]
    fn scatters_of_a_tensor_into_itself(dims in prop::collection::vec(1usize..5, 1..4), pick in any::<prop::sample::Index>(), view in views(), seed in any::<u64>()) {
        let axis = pick.index(dims.len());
        let x = Input::new(seed, &dims, view);
        let index = indices(seed, &dims, dims[axis], true);
        check_twice(&x, |x, source| scatter(x, axis, &index, source));
        check_twice(&x, |x, source| scatter_add(x, axis, &index, source));
    }

    #[test]
    fn frames(before in prop::collection::vec(0usize..4, 0..2), length in 1usize..20, after in prop::collection::vec(1usize..4, 0..2), size in 1usize..8, step in 1usize..6, view in views(), seed in any::<u64>()) {
        prop_assume!(size <= length);
        let (axis, dims) = (before.len(), [before, vec![length], after].concat());
        let x = Input::new(seed, &dims, view);
        check(&[&x], 1e-6, |x| unfold(&x[0], axis, size, step));
        let found = unfold(&x.tensor().unwrap(), axis, size, step).unwrap();
        let data = values(&x.tensor().unwrap());
        let expected: Vec<f64> = places(found.dims())
            .into_iter()
            .map(|mut place| {
                let within = place.pop().unwrap();
                place[axis] = place[axis] * step + within;
                data[number(&dims, &place)]
            })
            .collect();
        assert_same(&found, &expected, 0.0);
    }

    #[test]
    fn maxima(dims in dims(), pick in any::<prop::sample::Index>(), view in views(), seed in 0u64..1000) {
        let axis = pick.index(dims.len());
        prop_assume!(dims[axis] > 0);
        let x = Input::spread(seed, &dims, view);
        check(&[&x], 1e-6, |x| max_axis(&x[0], axis));
        let tensor = x.tensor().unwrap();
        let found = max_axis(&tensor, axis).unwrap();
        if tensor.elem_count() > 0 {
            assert_same(&found, &values(&tensor.max(axis).unwrap()), 0.0);
        }
    }
}

proptest! {
    #![proptest_config(cases(6))]

    /// Large enough for several tasks.
    #[test]
    fn large_moves(rows in 300usize..900, columns in 40usize..200, view in views(), seed in any::<u64>()) {
        let dims = [rows, columns, 3];
        let x = Input::new(seed, &dims, view);
        for axis in 0..3 {
            let index = indices(seed, &dims, dims[axis], true);
            let source = Input::new(seed ^ 1, &dims, View::Contiguous);
            check_values(&[&x], 1e-5, |x| gather(&x[0], axis, &index));
            check_values(&[&x, &source], 1e-5, |t| scatter_add(&t[0], axis, &index, &t[1]));
            check_values(&[&x, &source], 1e-5, |t| scatter(&t[0], axis, &index, &t[1]));
            check_values(&[&x], 1e-5, |x| sum_axes(&x[0], &[axis]));
        }
        check_values(&[&x], 0.0, |x| permute(&x[0], &[1, 2, 0]));
        check_values(&[&x], 1e-5, |x| unfold(&x[0], 0, 200, 50));
        check_values(&[&x], 1e-5, |x| sum_axes(&x[0], &[0, 2]));
    }
}

#[test]
fn the_first_of_equal_maxima_and_nan_get_the_gradient() -> Result<()> {
    let nan = f32::NAN;
    let x = candle_core::Var::new(
        &[[1f32, 2., 2.], [nan, 5., nan], [f32::NEG_INFINITY; 3]],
        &Device::Cpu,
    )?;
    let found = max_axis(&x, 1)?;
    assert_same(&found, &[2.0, f64::NAN, f64::NEG_INFINITY], 0.0);
    let along_rows = max_axis(&x, 0)?;
    assert_same(&along_rows, &[f64::NAN, 5.0, f64::NAN], 0.0);
    let gradients = gather(
        &found.unsqueeze(1)?,
        1,
        &Tensor::zeros((3, 1), DType::U32, &Device::Cpu)?,
    )?
    .backward()?;
    let gradient = gradients.get(&x).expect("x has a gradient");
    assert_same(
        gradient,
        &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        0.0,
    );
    Ok(())
}

#[test]
fn indices_outside_are_named() -> Result<()> {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let index = Tensor::new(&[[0i64, 1, 2], [0, -1, 3]], &Device::Cpu)?;
    let expect = |result: Result<Tensor>, parts: &[&str]| {
        let message = result.expect_err("the index lies outside").to_string();
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    };
    let place = ["index", "-1 at [1, 1]", "below 3"];
    expect(gather(&x, 1, &index), &place);
    expect(scatter(&x, 1, &index, &x), &place);
    expect(scatter_add(&x, 1, &index, &x), &place);
    expect(
        scatter_add(&x, 0, &index, &x),
        &["2 at [0, 2]", "below 2", "axis 0"],
    );
    let ids = Tensor::new(&[1u32, 7], &Device::Cpu)?;
    expect(
        index_select(&x, 0, &ids),
        &["index_select", "7 at [1]", "below 2"],
    );
    expect(embedding(&x, &ids), &["embedding", "7 at [1]"]);
    let empty = Tensor::zeros((2, 0), DType::F32, &Device::Cpu)?;
    expect(
        gather(&empty, 1, &Tensor::zeros((2, 1), DType::U32, &Device::Cpu)?),
        &["0 at [0, 0]", "below 0"],
    );
    Ok(())
}

#[test]
fn unusable_arguments_are_refused() -> Result<()> {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let (long, wide) = (
        Tensor::zeros((3, 3), DType::U32, &Device::Cpu)?,
        Tensor::zeros((2, 4), DType::U32, &Device::Cpu)?,
    );
    let floats = Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?;
    let line = Tensor::zeros(3, DType::U32, &Device::Cpu)?;
    for (result, part) in [
        (gather(&x, 2, &long), "axis"),
        (gather(&x, 1, &long), "`index` has shape [3, 3]"),
        (gather(&x, 0, &wide), "`index` has shape [2, 4]"),
        (gather(&x, 0, &line), "`index` has shape [3]"),
        (gather(&x, 0, &floats), "`index` has type F64"),
        (gather(&wide, 0, &wide), "`x` has type U32"),
        (index_select(&x, 0, &long), "`index` has shape [3, 3]"),
        (
            embedding(&line.to_dtype(DType::F32)?, &line),
            "`weight` has shape [3]",
        ),
        (scatter(&x, 1, &wide, &x), "`source` has shape [2, 3]"),
        (scatter_add(&x, 1, &line, &x), "`index` has shape [3]"),
        (scatter(&x, 0, &long, &floats), "`source` has type F64"),
        (sum_axes(&x, &[0, 0]), "axes"),
        (sum_axes(&x, &[2]), "axes"),
        (sum_axes(&wide, &[0]), "`x` has type U32"),
        (permute(&x, &[0]), "axes"),
        (permute(&x, &[1, 1]), "axes"),
        (unfold(&x, 1, 4, 1), "size"),
        (unfold(&x, 1, 0, 1), "size"),
        (unfold(&x, 1, 1, 0), "step"),
        (unfold(&x, 3, 1, 1), "axis"),
        (max_axis(&x.narrow(0, 0, 0)?, 0), "along axis 0"),
        (max_axis(&x, 2), "axis"),
    ] {
        let message = result.expect_err(part).to_string();
        assert!(message.contains(part), "{message} lacks {part}");
    }
    Ok(())
}
