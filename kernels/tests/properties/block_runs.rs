//! Residual blocks and inverted residuals as one operator, against the same in f64, where they are taken apart.

use crate::support::{Input, View, cases, check, check_values};
use candle_core::{Result, Tensor};
use proptest::prelude::*;
use taper_kernels::{
    Activation, BlockNorm, BlockUnit, BlockView::Normed, BlockView::Raw, Conv2dGeometry, block_run,
};

/// Large, so that a channel with few values is not divided by next to nothing.
const EPS: f64 = 0.1;

#[derive(Debug, Clone)]
struct Block {
    batch: usize,
    channels: usize,
    inner: usize,
    sides: (usize, usize),
    kernel: usize,
    stride: usize,
    depthwise: bool,
    seed: u64,
}

impl Block {
    fn residual(&self) -> bool {
        self.stride == 1
    }

    /// Whether each norm has two values of a channel at least.
    fn has_moments(&self) -> bool {
        let (height, width) = self.sides;
        self.batch * height.div_ceil(self.stride) * width.div_ceil(self.stride) > 1
    }

    /// Input; first weight, its norm; second weight, its norm.
    fn inputs(&self, view: View) -> Vec<Input> {
        let Self {
            channels, inner, ..
        } = *self;
        let (height, width) = self.sides;
        let dims: [&[usize]; 7] = [
            &[self.batch, channels, height, width],
            &[inner, channels, 1, 1],
            &[inner],
            &[inner],
            &if self.depthwise {
                [inner, 1, self.kernel, self.kernel]
            } else {
                [channels, inner, self.kernel, self.kernel]
            },
            &[if self.depthwise { inner } else { channels }],
            &[if self.depthwise { inner } else { channels }],
        ];
        let input = |(index, dims): (usize, &&[usize])| {
            let view = if index == 0 { view } else { View::Contiguous };
            Input::new(self.seed.wrapping_add(index as u64), dims, view)
        };
        dims.iter().enumerate().map(input).collect()
    }

    /// No rectifier: rounding would decide on which side of it a value falls.
    fn run(&self, t: &[Tensor]) -> Result<Tensor> {
        let norm = |gamma, beta, residual| BlockNorm {
            gamma,
            beta,
            eps: EPS,
            residual,
            activation: Activation::None,
        };
        let adds_input = self.residual() && !self.depthwise;
        let groups = if self.depthwise { self.inner } else { 1 };
        let units = [
            BlockUnit {
                input: Raw(0),
                weight: &t[1],
                geometry: Conv2dGeometry::with(1, 0),
                add: None,
                norm: Some(norm(&t[2], &t[3], None)),
            },
            BlockUnit {
                input: Normed(1),
                weight: &t[4],
                geometry: Conv2dGeometry::with(self.stride, self.kernel / 2).grouped(groups),
                add: None,
                norm: Some(norm(&t[5], &t[6], adds_input.then_some(Raw(0)))),
            },
        ];
        Ok(block_run(&t[0], None, &units)?.0)
    }
}

/// Channels that fill blocks of 16, and others.
fn blocks(
    channels: impl Strategy<Value = usize>,
    side: std::ops::Range<usize>,
) -> impl Strategy<Value = Block> {
    let inner = prop_oneof![Just(16usize), Just(24), Just(32)];
    let sides = (side.clone(), side);
    let kernel = prop_oneof![Just(1usize), Just(3), Just(5)];
    (
        1usize..4,
        channels,
        inner,
        sides,
        kernel,
        1usize..3,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(batch, channels, inner, sides, kernel, stride, depthwise, seed)| Block {
                batch,
                channels,
                inner,
                sides,
                kernel,
                stride,
                depthwise,
                seed,
            },
        )
        .prop_filter("two values per channel", Block::has_moments)
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn fused_blocks(
        block in blocks(prop_oneof![Just(16usize), Just(32), Just(20)], 1..14),
        view in prop_oneof![Just(View::Contiguous), Just(View::Transposed), Just(View::Narrowed)],
    ) {
        let inputs = block.inputs(view);
        check_values(&inputs.iter().collect::<Vec<_>>(), 1e-3, |t| block.run(t));
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn small_blocks(block in blocks(1usize..3, 1..4)) {
        let block = Block { inner: 3, ..block };
        let inputs = block.inputs(View::Contiguous);
        check(&inputs.iter().collect::<Vec<_>>(), 1e-3, |t| block.run(t));
    }
}
