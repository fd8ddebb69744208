//! Self-attention over the pixels of a feature map.

use super::block::{Style, conv};
use super::start::Part;
use candle_core::{D, Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_layers::{Conv2d, GroupNorm};

/// How the 3·channels outputs of the convolution for queries, keys and values are ordered, slowest first
/// (Catch-Up Distillation's method card, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkvOrder {
    /// EDM: `[head][channel][query, key, value]`.
    HeadChannelWhich,
    /// guided-diffusion's legacy order: `[head][query, key, value][channel]`.
    HeadWhichChannel,
    /// Catch-Up Distillation's ImageNet repository: `[query, key, value][head][channel]`.
    WhichHeadChannel,
}

impl QkvOrder {
    /// For each row of the order head, which, channel: where it lies in this order.
    pub fn rows(self, heads: usize, channels: usize) -> Vec<u32> {
        let place = |head: usize, which: usize, channel: usize| match self {
            Self::HeadChannelWhich => (head * channels + channel) * 3 + which,
            Self::HeadWhichChannel => (head * 3 + which) * channels + channel,
            Self::WhichHeadChannel => (which * heads + head) * channels + channel,
        };
        let rows = (0..heads).flat_map(|head| {
            (0..3).flat_map(move |which| {
                (0..channels).map(move |channel| place(head, which, channel) as u32)
            })
        });
        rows.collect()
    }
}

/// Names of the three layers.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) norm: &'static str,
    pub(crate) qkv: &'static str,
    pub(crate) proj: &'static str,
}

/// `(x + proj(values · softmax(queries · keys / √channels))) · scale`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    norm: GroupNorm,
    qkv: Conv2d,
    proj: Conv2d,
    heads: usize,
    /// Brings the rows into the order head, which, channel; `None` where they are in it.
    rows: Option<Tensor>,
    residual_scale: f64,
}

impl Attention {
    pub(crate) fn new(
        channels: usize,
        style: &Style,
        names: &Names,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let heads = match style.head_channels {
            None => 1,
            Some(width) if width > 0 && channels.is_multiple_of(width) => channels / width,
            Some(width) => candle_core::bail!(
                "`head_channels` is {width}, which does not divide the {channels} channels"
            ),
        };
        let rows = match style.qkv_order {
            QkvOrder::HeadWhichChannel => None,
            order => {
                let rows = order.rows(heads, channels / heads);
                Some(Tensor::from_vec(rows, 3 * channels, vb.device())?)
            }
        };
        let layer =
            |inputs, outputs, part, name| conv(inputs, outputs, 1, style.start, part, vb.pp(name));
        Ok(Self {
            norm: style.norm(channels, vb.pp(names.norm))?,
            qkv: layer(channels, 3 * channels, Part::Attention, names.qkv)?,
            proj: layer(channels, channels, Part::Last, names.proj)?,
            heads,
            rows,
            residual_scale: style.residual_scale,
        })
    }

    /// `[batch, channels, height, width]` → the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let pixels = height * width;
        let part = channels / self.heads;
        let all = self.queries_keys_values(&self.norm.forward(x)?)?;
        let all = all.reshape((batch * self.heads, 3 * part, pixels))?;
        let queries = (all.narrow(1, 0, part)? * (1.0 / (part as f64).sqrt()))?;
        let (keys, values) = (all.narrow(1, part, part)?, all.narrow(1, 2 * part, part)?);
        let scores = queries.transpose(1, 2)?.matmul(&keys)?;
        let weights = taper_kernels::softmax(&scores, D::Minus1)?;
        let mixed = values.matmul(&weights.transpose(1, 2)?)?;
        let mixed = mixed.reshape((batch, channels, height, width))?;
        taper_kernels::add_scaled(&self.proj.forward(&mixed)?, x, self.residual_scale)
    }

    /// The convolution with its rows in the order head, which, channel: moving rows of the weight is
    /// cheaper than moving the feature map's.
    fn queries_keys_values(&self, x: &Tensor) -> Result<Tensor> {
        let Some(rows) = &self.rows else {
            return self.qkv.forward(x);
        };
        let weight = taper_kernels::index_select(self.qkv.weight(), 0, rows)?;
        let bias = self
            .qkv
            .bias()
            .map(|bias| taper_kernels::index_select(bias, 0, rows));
        taper_kernels::conv2d(x, &weight, bias.transpose()?.as_ref(), self.qkv.geometry())
    }
}

#[cfg(test)]
mod tests {
    use super::QkvOrder;

    #[test]
    fn orders_of_two_heads_of_two_channels() {
        let rows = |order: QkvOrder| order.rows(2, 2);
        let expected: Vec<u32> = (0..12).collect();
        assert_eq!(rows(QkvOrder::HeadWhichChannel), expected);
        assert_eq!(
            rows(QkvOrder::HeadChannelWhich),
            [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
        );
        assert_eq!(
            rows(QkvOrder::WhichHeadChannel),
            [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]
        );
    }
}
