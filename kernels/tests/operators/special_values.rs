//! NaN, infinities and ties as PyTorch has them; `golden/make_special_values.py` made the file.

use crate::golden::Golden;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use taper_kernels::{
    Activation, Conv1dGeometry, Conv2dGeometry, ConvTranspose1dGeometry, Pool2dGeometry,
    adaptive_avg_pool2d, avg_pool2d, batch_norm_eval, batch_norm_train,
    binary_cross_entropy_with_logits, conv_transpose1d, conv1d, conv2d, cross_entropy, embedding,
    gather, index_select, linear, log_softmax, max_axis, permute, resize_bilinear2d,
    resize_nearest2d, scatter, scatter_add, segment_match, sum_axes, unfold,
};

fn golden() -> Result<Golden> {
    Golden::load("special_values")
}

#[test]
fn convolutions() -> Result<()> {
    let golden = golden()?;
    for (padding, stride) in [(0, 1), (1, 1), (1, 2)] {
        let geometry = Conv2dGeometry::with(stride, padding);
        let case = format!("conv2d/p{padding}s{stride}");
        golden.check(&case, &["x", "weight", "bias"], |vars| {
            conv2d(&vars[0], &vars[1], Some(&vars[2]), &geometry)
        })?;
    }
    let geometry = Conv2dGeometry {
        groups: 2,
        ..Conv2dGeometry::with(1, 1)
    };
    golden.check("conv2d/depthwise", &["x", "weight"], |vars| {
        conv2d(&vars[0], &vars[1], None, &geometry)
    })?;
    let geometry = Conv1dGeometry {
        stride: 2,
        padding: (1, 1),
        ..Conv1dGeometry::default()
    };
    golden.check("conv1d", &["x", "weight"], |vars| {
        conv1d(&vars[0], &vars[1], None, &geometry)
    })?;
    golden.check("conv_transpose1d", &["x", "weight"], |vars| {
        conv_transpose1d(
            &vars[0],
            &vars[1],
            None,
            &ConvTranspose1dGeometry::with(2, 1),
        )
    })
}

#[test]
fn norms() -> Result<()> {
    let golden = golden()?;
    golden.check("batch_norm_train", &["x", "weight", "bias"], |vars| {
        Ok(batch_norm_train(&vars[0], &vars[1], &vars[2], None, 1e-5, Activation::Relu)?.0)
    })?;
    let (mean, var) = (
        golden.get("batch_norm_eval/mean")?,
        golden.get("batch_norm_eval/var")?,
    );
    golden.check("batch_norm_eval", &["x", "weight", "bias"], |vars| {
        batch_norm_eval(
            &vars[0],
            &vars[1],
            &vars[2],
            mean,
            var,
            None,
            1e-5,
            Activation::Relu,
        )
    })
}

#[test]
fn losses() -> Result<()> {
    let golden = golden()?;
    golden.check("log_softmax", &["x"], |vars| {
        log_softmax(&vars[0], candle_core::D::Minus1)
    })?;
    let targets = golden.get("cross_entropy/targets")?.to_dtype(DType::U32)?;
    for row in 0..6 {
        let target = targets.narrow(0, row, 1)?;
        golden.check(&format!("cross_entropy/{row}"), &["x"], |vars| {
            cross_entropy(&vars[0], &target, 0.0)
        })?;
        golden.check(&format!("cross_entropy/{row}/smoothed"), &["x"], |vars| {
            cross_entropy(&vars[0], &target, 0.1)
        })?;
    }
    golden.check("linear", &["x", "weight", "bias"], |vars| {
        linear(&vars[0], &vars[1], Some(&vars[2]))
    })?;
    for y in ["0.0", "0.3", "1.0"] {
        for number in 0..7 {
            golden.check(&format!("binary/{y}/{number}"), &["x", "y"], |vars| {
                binary_cross_entropy_with_logits(&vars[0], &vars[1])
            })?;
        }
    }
    golden.check("segment_match", &["expanded", "teacher"], |vars| {
        segment_match(&vars[0], &vars[1], 2)
    })
}

#[test]
fn moves() -> Result<()> {
    let golden = golden()?;
    for axis in 0..2 {
        golden.check(&format!("sum_axes/{axis}"), &["x"], |vars| {
            sum_axes(&vars[0], &[axis])
        })?;
        golden.check(&format!("max_axis/{axis}"), &["x"], |vars| {
            max_axis(&vars[0], axis)
        })?;
        let index = Tensor::new(&[[0u32, 2], [2, 2]], &Device::Cpu)?;
        golden.check(&format!("gather/{axis}"), &["x"], |vars| {
            gather(&vars[0], axis, &index)
        })?;
        let second = if axis == 1 { [0i64, 1, 2] } else { [1, 2, 0] };
        let index = Tensor::new(&[[2i64, 0, 1], second], &Device::Cpu)?;
        golden.check(&format!("scatter/{axis}"), &["x", "source"], |vars| {
            scatter(&vars[0], axis, &index, &vars[1])
        })?;
        golden.check(&format!("scatter_add/{axis}"), &["x", "source"], |vars| {
            scatter_add(&vars[0], axis, &index, &vars[1])
        })?;
    }
    let index = Tensor::new(&[2u32, 0, 2], &Device::Cpu)?;
    golden.check("index_select", &["x"], |vars| {
        index_select(&vars[0], 0, &index)
    })?;
    let index = Tensor::new(&[[2u32, 0], [2, 1]], &Device::Cpu)?;
    golden.check("embedding", &["weight"], |vars| embedding(&vars[0], &index))?;
    golden.check("unfold", &["x"], |vars| unfold(&vars[0], 1, 3, 2))?;
    golden.check("permute", &["x"], |vars| permute(&vars[0], &[2, 0, 1]))
}

#[test]
fn pooling_and_resize() -> Result<()> {
    let golden = golden()?;
    golden.check("avg_pool2d", &["x"], |vars| {
        avg_pool2d(&vars[0], &Pool2dGeometry::square(3, 2, 1), true)
    })?;
    golden.check("adaptive_avg_pool2d", &["x"], |vars| {
        adaptive_avg_pool2d(&vars[0], (2, 3))
    })?;
    for (corners, name) in [(false, "False"), (true, "True")] {
        golden.check(&format!("resize_bilinear2d/{name}"), &["x"], |vars| {
            resize_bilinear2d(&vars[0], (7, 4), corners)
        })?;
    }
    golden.check("resize_nearest2d", &["x"], |vars| {
        resize_nearest2d(&vars[0], (7, 4))
    })
}
