//! From the numbers of a configuration to the layers of a U-Net.

use super::block::{Block, Form, Resample, Style, conv};
use super::embedding::{Embedding, EmbeddingForm};
use super::names::{Dialect, Namer, Site};
use super::start::Part;
use super::{DecoderBlock, Head, UNet};
use crate::check::check_positive;
use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use taper_layers::Conv2d;

/// Everything that a family's configuration decides.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Height and width that the names are made for.
    pub(crate) side: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Width of the sines and cosines of time.
    pub(crate) width: usize,
    /// Channels after the first convolution.
    pub(crate) stem: usize,
    /// Channels of each level, over `width`.
    pub(crate) multipliers: Vec<usize>,
    /// Blocks of a level of the encoder; the decoder has one more.
    pub(crate) blocks: usize,
    /// Sides of the levels with attention.
    pub(crate) attention: Vec<usize>,
    /// Whether only the last block of the decoder's levels has attention.
    pub(crate) last_attends: bool,
    pub(crate) classes: Option<usize>,
    pub(crate) augment: Option<usize>,
    pub(crate) heads: usize,
    pub(crate) phi: Option<f64>,
    pub(crate) dialect: Dialect,
    pub(crate) style: Style,
}

impl Plan {
    fn check(&self) -> Result<()> {
        check_positive(&[
            ("side", self.side),
            ("inputs", self.inputs),
            ("outputs", self.outputs),
            ("width", self.width),
            ("multipliers", self.multipliers.len()),
            (
                "multipliers",
                self.multipliers.iter().copied().min().unwrap_or(0),
            ),
            ("blocks", self.blocks),
            ("classes", self.classes.unwrap_or(1)),
            ("augment", self.augment.unwrap_or(1)),
            ("heads", self.heads),
        ])?;
        if self.width < 4 || !self.width.is_multiple_of(2) {
            bail!(
                "`width` is {}; sines and cosines of time need an even width of at least 4",
                self.width
            );
        }
        let levels = self.multipliers.len();
        let multiple = u32::try_from(levels - 1)
            .ok()
            .and_then(|halvings| 1usize.checked_shl(halvings));
        if !multiple.is_some_and(|multiple| self.side.is_multiple_of(multiple)) {
            bail!(
                "`side` is {}, which {levels} levels of `multipliers` do not halve {} times",
                self.side,
                levels - 1
            );
        }
        let dropout = self.style.dropout;
        if !(0.0..1.0).contains(&dropout) {
            bail!("`dropout` is {dropout}; a probability from 0 to less than 1 is needed");
        }
        match self.phi {
            Some(phi) if !(0.0..=1.0).contains(&phi) => {
                bail!("`phi` is {phi}; a number from 0 to 1 is needed")
            }
            _ => Ok(()),
        }
    }

    /// The network over the tensors of `vb`.
    pub(crate) fn build(&self, vb: VarBuilder) -> Result<UNet> {
        self.check()?;
        let form = EmbeddingForm {
            sines: self.width,
            outputs: self.style.embedding,
            classes: self.classes,
            augment: self.augment,
            dialect: self.dialect,
            start: self.style.start,
        };
        let mut builder = Builder {
            plan: self,
            namer: Namer::new(self.dialect, vb.clone()),
            channels: self.stem,
            skips: vec![self.stem],
        };
        let stem = builder.stem()?;
        let encoder = builder.encoder()?;
        let middle = builder.middle()?;
        let decoder = builder.decoder()?;
        let channels = builder.channels;
        Ok(UNet {
            embedding: Embedding::new(form, &vb)?,
            stem,
            encoder,
            middle,
            decoder,
            heads: (0..self.heads)
                .map(|index| self.head(index, channels, &vb))
                .collect::<Result<_>>()?,
            classes: self.classes,
            inputs: self.inputs,
            multiple: 1 << (self.multipliers.len() - 1),
            phi: self.phi,
        })
    }

    /// The output, or one of the further heads of Catch-Up Distillation (`MetaGenerator`).
    fn head(&self, index: usize, channels: usize, vb: &VarBuilder) -> Result<Head> {
        let [norm, last] = match index.checked_sub(1) {
            None => self.dialect.output(vb, self.side),
            Some(further) => {
                let vb = vb.pp("generator_list").pp(further).pp("block");
                [vb.pp("0"), vb.pp("2")]
            }
        };
        Ok(Head {
            norm: self.style.norm(channels, norm)?,
            conv: conv(
                channels,
                self.outputs,
                3,
                self.style.start,
                Part::Last,
                last,
            )?,
        })
    }
}

/// What changes from block to block.
struct Builder<'a> {
    plan: &'a Plan,
    namer: Namer<'a>,
    /// Of the latest feature map.
    channels: usize,
    /// Channels of the encoder's feature maps that the decoder has yet to read.
    skips: Vec<usize>,
}

impl Builder<'_> {
    fn stem(&mut self) -> Result<Conv2d> {
        let Plan { side, inputs, .. } = *self.plan;
        let vb = self.namer.stem(side);
        let start = self.plan.style.start;
        conv(inputs, self.channels, 3, start, Part::Inner, vb)
    }

    /// A block from `inputs` channels to `outputs`.
    fn block(
        &mut self,
        site: Site,
        side: usize,
        (inputs, outputs): (usize, usize),
        attention: bool,
    ) -> Result<Block> {
        let form = Form {
            inputs,
            outputs,
            resample: match site {
                Site::Down => Resample::Down,
                Site::Up => Resample::Up,
                _ => Resample::Keep,
            },
            attention,
        };
        self.channels = outputs;
        let paths = self.namer.block(site, side, attention);
        Block::new(form, &self.plan.style, &paths)
    }

    fn attends(&self, side: usize) -> bool {
        self.plan.attention.contains(&side)
    }

    fn encoder(&mut self) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        for (level, multiplier) in self.plan.multipliers.iter().enumerate() {
            let side = self.plan.side >> level;
            if level > 0 {
                let widths = (self.channels, self.channels);
                blocks.push(self.block(Site::Down, side, widths, false)?);
                self.skips.push(self.channels);
            }
            for index in 0..self.plan.blocks {
                let widths = (self.channels, self.plan.width * multiplier);
                let attention = self.attends(side);
                blocks.push(self.block(Site::Encoder(index), side, widths, attention)?);
                self.skips.push(self.channels);
            }
        }
        Ok(blocks)
    }

    fn middle(&mut self) -> Result<[Block; 2]> {
        let side = self.plan.side >> (self.plan.multipliers.len() - 1);
        let widths = (self.channels, self.channels);
        Ok([
            self.block(Site::Middle(0), side, widths, true)?,
            self.block(Site::Middle(1), side, widths, false)?,
        ])
    }

    fn decoder(&mut self) -> Result<Vec<DecoderBlock>> {
        let mut blocks = Vec::new();
        let lowest = self.plan.multipliers.len() - 1;
        for (level, multiplier) in self.plan.multipliers.iter().enumerate().rev() {
            let side = self.plan.side >> level;
            if level < lowest {
                let widths = (self.channels, self.channels);
                let block = self.block(Site::Up, side, widths, false)?;
                blocks.push(DecoderBlock {
                    block,
                    joins: false,
                });
            }
            for index in 0..=self.plan.blocks {
                let skip = self.skips.pop().unwrap_or(0);
                let widths = (self.channels + skip, self.plan.width * multiplier);
                let last = index == self.plan.blocks || !self.plan.last_attends;
                let attention = last && self.attends(side);
                let block = self.block(Site::Decoder(index), side, widths, attention)?;
                blocks.push(DecoderBlock { block, joins: true });
            }
        }
        Ok(blocks)
    }
}
