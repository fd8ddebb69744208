//! The vector of time and class that conditions every block.

use super::block::linear;
use super::names::Dialect;
use super::start::{Part, Start};
use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_layers::Linear;

/// The slowest sine's wave length over 2π, in units of t.
const MOST_POSITIONS: f64 = 10_000.0;

/// What the embedding is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmbeddingForm {
    /// Width of the sines and cosines.
    pub(crate) sines: usize,
    /// Width of the result.
    pub(crate) outputs: usize,
    pub(crate) classes: Option<usize>,
    /// Numbers of an augmentation label.
    pub(crate) augment: Option<usize>,
    pub(crate) dialect: Dialect,
    pub(crate) start: Start,
}

/// How a class enters.
#[derive(Debug, Clone)]
enum ClassMap {
    /// `map_label` `[sines, classes]` with bias, on √classes · one-hot, before the first layer (EDM `SongUNet`).
    Early(Linear),
    /// `map_label.weight` `[outputs, classes]`, after the second layer (EDM `DhariwalUNet`).
    Late(Tensor),
    /// `label_emb.weight` `[classes, outputs]`, after the second layer (guided-diffusion).
    Table(Tensor),
}

/// Sines and cosines of t, two linear layers with SiLU, class and augmentation labels.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    form: EmbeddingForm,
    layers: [Linear; 2],
    class: Option<ClassMap>,
    augment: Option<Tensor>,
}

impl Embedding {
    pub(crate) fn new(form: EmbeddingForm, vb: &VarBuilder) -> Result<Self> {
        let EmbeddingForm {
            sines,
            outputs,
            dialect,
            start,
            ..
        } = form;
        let [first, second] = dialect.mapping();
        let class = form.classes.map(|classes| -> Result<ClassMap> {
            let normal = Init::Randn {
                mean: 0.0,
                stdev: 1.0,
            };
            Ok(match dialect {
                Dialect::EdmSong => {
                    ClassMap::Early(linear(classes, sines, start, vb.pp("map_label"))?)
                }
                Dialect::EdmDhariwal => ClassMap::Late(vb.get_with_hints(
                    (outputs, classes),
                    "map_label.weight",
                    normal,
                )?),
                Dialect::GuidedDiffusion => ClassMap::Table(vb.get_with_hints(
                    (classes, outputs),
                    "label_emb.weight",
                    normal,
                )?),
            })
        });
        let augment = form.augment.map(|inputs| {
            let part = match dialect {
                Dialect::EdmSong => Part::Inner,
                Dialect::EdmDhariwal | Dialect::GuidedDiffusion => Part::Last,
            };
            let (weight, _) = start.of(part, inputs, sines);
            vb.get_with_hints((sines, inputs), "map_augment.weight", weight)
        });
        Ok(Self {
            form,
            layers: [
                linear(sines, outputs, start, vb.pp(first))?,
                linear(outputs, outputs, start, vb.pp(second))?,
            ],
            class: class.transpose()?,
            augment: augment.transpose()?,
        })
    }

    /// Times, classes `[batch]` and augmentation labels `[batch, augment]` → `[batch, outputs]`, SiLU applied.
    pub(crate) fn forward(
        &self,
        times: &[f64],
        class: Option<&Tensor>,
        augment: Option<&Tensor>,
        dtype: DType,
    ) -> Result<Tensor> {
        let [first, second] = &self.layers;
        let mut sines = self.sines(times, first.weight(), dtype)?;
        if let (Some(ClassMap::Early(map)), Some(class)) = (&self.class, class) {
            let classes = self.form.classes.unwrap_or(0);
            let one_hot = one_hot(class, classes, (classes as f64).sqrt(), dtype)?;
            sines = (sines + map.forward(&one_hot)?)?;
        }
        if let (Some(map), Some(labels)) = (&self.augment, augment) {
            sines = (sines + taper_kernels::linear(labels, map, None)?)?;
        }
        let hidden = taper_kernels::silu(&first.forward(&sines)?)?;
        let mut embedding = second.forward(&hidden)?;
        match (&self.class, class) {
            (Some(ClassMap::Late(map)), Some(class)) => {
                let one_hot = one_hot(class, map.dim(1)?, 1.0, dtype)?;
                embedding = (embedding + taper_kernels::linear(&one_hot, map, None)?)?;
            }
            (Some(ClassMap::Table(table)), Some(class)) => {
                embedding = (embedding + taper_kernels::index_select(table, 0, class)?)?;
            }
            _ => {}
        }
        taper_kernels::silu(&embedding)
    }

    /// Numbers of an augmentation label.
    pub(crate) fn augment(&self) -> Option<usize> {
        self.form.augment
    }

    /// `SongUNet`: sin | cos, frequencies down to 1/10,000 itself; ADM: cos | sin, the last a step above it.
    fn sines(&self, times: &[f64], like: &Tensor, dtype: DType) -> Result<Tensor> {
        let half = self.form.sines / 2;
        let song = self.form.dialect == Dialect::EdmSong;
        let steps = if song { half - 1 } else { half } as f64;
        let frequencies: Vec<f64> = (0..half)
            .map(|index| MOST_POSITIONS.powf(-(index as f64) / steps))
            .collect();
        let mut rows = Vec::with_capacity(times.len() * 2 * half);
        for t in times {
            let sines = frequencies.iter().map(|frequency| (t * frequency).sin());
            let cosines = frequencies.iter().map(|frequency| (t * frequency).cos());
            match song {
                true => rows.extend(sines.chain(cosines)),
                false => rows.extend(cosines.chain(sines)),
            }
        }
        Tensor::from_vec(rows, (times.len(), 2 * half), like.device())?.to_dtype(dtype)
    }
}

/// `[batch, classes]` with `value` at each class.
fn one_hot(class: &Tensor, classes: usize, value: f64, dtype: DType) -> Result<Tensor> {
    let count = class.elem_count();
    let mut rows = vec![0f64; count * classes];
    for (row, class) in class.to_vec1::<u32>()?.into_iter().enumerate() {
        rows[row * classes + class as usize] = value;
    }
    Tensor::from_vec(rows, (count, classes), class.device())?.to_dtype(dtype)
}
