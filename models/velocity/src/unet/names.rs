//! The names of a U-Net's tensors: EDM's and guided-diffusion's.

use super::attention;
use candle_nn::VarBuilder;

/// Whose names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// NVlabs/edm `SongUNet`: `enc.32x32_block0.conv0.weight`, `dec.32x32_aux_conv`.
    EdmSong,
    /// NVlabs/edm `DhariwalUNet`: the same blocks, `out_norm` and `out_conv`.
    EdmDhariwal,
    /// openai/guided-diffusion and what derives from it: `input_blocks.1.0.in_layers.2.weight`.
    GuidedDiffusion,
}

/// Names of a block's layers under its own.
#[derive(Debug)]
pub(crate) struct BlockNames {
    pub(crate) norm0: &'static str,
    pub(crate) conv0: &'static str,
    pub(crate) affine: &'static str,
    pub(crate) norm1: &'static str,
    pub(crate) conv1: &'static str,
    pub(crate) skip: &'static str,
    pub(crate) attention: attention::Names,
}

const EDM: BlockNames = BlockNames {
    norm0: "norm0",
    conv0: "conv0",
    affine: "affine",
    norm1: "norm1",
    conv1: "conv1",
    skip: "skip",
    attention: attention::Names {
        norm: "norm2",
        qkv: "qkv",
        proj: "proj",
    },
};

const GUIDED_DIFFUSION: BlockNames = BlockNames {
    norm0: "in_layers.0",
    conv0: "in_layers.2",
    affine: "emb_layers.1",
    norm1: "out_layers.0",
    conv1: "out_layers.3",
    skip: "skip_connection",
    attention: attention::Names {
        norm: "norm",
        qkv: "qkv",
        proj: "proj_out",
    },
};

/// Where a block finds its tensors.
pub(crate) struct BlockPaths<'a> {
    pub(crate) residual: VarBuilder<'a>,
    pub(crate) attention: VarBuilder<'a>,
    pub(crate) names: &'static BlockNames,
}

/// The places of a U-Net in the order in which they are built.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Site {
    Stem,
    /// A block of the encoder, numbered within its level.
    Encoder(usize),
    Down,
    /// The two blocks between encoder and decoder.
    Middle(usize),
    /// A block of the decoder, numbered within its level.
    Decoder(usize),
    Up,
}

/// Gives each site its path; guided-diffusion numbers them as they come.
pub(crate) struct Namer<'a> {
    dialect: Dialect,
    vb: VarBuilder<'a>,
    inputs: usize,
    outputs: usize,
    /// Whether the latest block of the decoder has attention.
    attended: bool,
}

impl<'a> Namer<'a> {
    pub(crate) fn new(dialect: Dialect, vb: VarBuilder<'a>) -> Self {
        Self {
            dialect,
            vb,
            inputs: 0,
            outputs: 0,
            attended: false,
        }
    }

    /// The stem's convolution.
    pub(crate) fn stem(&mut self, side: usize) -> VarBuilder<'a> {
        self.block(Site::Stem, side, false).residual
    }

    /// A block at a level of so many pixels a side.
    pub(crate) fn block(&mut self, site: Site, side: usize, attention: bool) -> BlockPaths<'a> {
        match self.dialect {
            Dialect::EdmSong | Dialect::EdmDhariwal => {
                let (half, name) = match site {
                    Site::Stem => ("enc", "conv".to_string()),
                    Site::Encoder(index) => ("enc", format!("block{index}")),
                    Site::Down => ("enc", "down".to_string()),
                    Site::Middle(index) => ("dec", format!("in{index}")),
                    Site::Decoder(index) => ("dec", format!("block{index}")),
                    Site::Up => ("dec", "up".to_string()),
                };
                let vb = self.vb.pp(half).pp(format!("{side}x{side}_{name}"));
                BlockPaths {
                    residual: vb.clone(),
                    attention: vb,
                    names: &EDM,
                }
            }
            Dialect::GuidedDiffusion => self.numbered(site, attention),
        }
    }

    fn numbered(&mut self, site: Site, attention: bool) -> BlockPaths<'a> {
        let (list, slot) = match site {
            Site::Stem | Site::Encoder(_) | Site::Down => {
                self.inputs += 1;
                (format!("input_blocks.{}", self.inputs - 1), 0)
            }
            // The second block comes after the first one's attention.
            Site::Middle(index) => ("middle_block".to_string(), 2 * index),
            Site::Decoder(_) => {
                self.outputs += 1;
                self.attended = attention;
                (format!("output_blocks.{}", self.outputs - 1), 0)
            }
            // Appended to the level's last block.
            Site::Up => {
                let block = self.outputs.saturating_sub(1);
                (
                    format!("output_blocks.{block}"),
                    1 + usize::from(self.attended),
                )
            }
        };
        let vb = self.vb.pp(list);
        BlockPaths {
            residual: vb.pp(slot),
            attention: vb.pp(slot + 1),
            names: &GUIDED_DIFFUSION,
        }
    }
}

impl Dialect {
    /// Norm and convolution of the output at the image's size.
    pub(crate) fn output<'a>(self, vb: &VarBuilder<'a>, side: usize) -> [VarBuilder<'a>; 2] {
        match self {
            Self::EdmSong => {
                ["norm", "conv"].map(|layer| vb.pp("dec").pp(format!("{side}x{side}_aux_{layer}")))
            }
            Self::EdmDhariwal => ["out_norm", "out_conv"].map(|layer| vb.pp(layer)),
            Self::GuidedDiffusion => ["out.0", "out.2"].map(|layer| vb.pp(layer)),
        }
    }

    /// The two linear layers of the embedding.
    pub(crate) fn mapping(self) -> [&'static str; 2] {
        match self {
            Self::EdmSong | Self::EdmDhariwal => ["map_layer0", "map_layer1"],
            Self::GuidedDiffusion => ["time_embed.0", "time_embed.2"],
        }
    }
}
