//! The networks that can be timed: classifiers and velocity networks.

use candle_core::{DType, Result, Tensor};
use taper::kernels::random::stream;
use taper::layers::{Mode, ParameterStore};
use taper::velocity::{Dropout, VelocityEntry, VelocityNetwork};
use taper::vision::ModelEntry;

/// An entry of one of the registries.
#[derive(Clone, Copy)]
pub enum Subject {
    Classifier {
        entry: &'static ModelEntry,
        classes: usize,
    },
    Velocity(&'static VelocityEntry),
}

impl Subject {
    /// The network of that name; `classes` as the original's where nothing else is said.
    pub fn find(name: &str, classes: Option<u32>) -> anyhow::Result<Self> {
        if let Ok(entry) = taper::velocity::registry::find(name) {
            anyhow::ensure!(
                classes.is_none(),
                "--classes: {} has the classes of its original; leave it out",
                entry.name
            );
            return Ok(Self::Velocity(entry));
        }
        let entry = crate::network::entry(name)?;
        let classes = classes.map_or(entry.classes, |classes| classes as usize);
        Ok(Self::Classifier { entry, classes })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Classifier { entry, .. } => entry.name,
            Self::Velocity(entry) => entry.name,
        }
    }

    /// Shape of a batch of the network's own input, or of images of `image`.
    pub fn shape(self, batch: usize, image: Option<[usize; 3]>) -> Vec<usize> {
        let own = match self {
            Self::Classifier { entry, .. } => &entry.input[..],
            Self::Velocity(entry) => entry.input,
        };
        let sample = image.as_ref().map_or(own, |image| image);
        [&[batch], sample].concat()
    }

    /// A training step's loss: cross-entropy; of a velocity network the mean square of velocity − x, dropout on.
    pub fn loss(
        self,
        store: &ParameterStore,
        x: &Tensor,
    ) -> Result<Box<dyn FnMut() -> Result<Tensor>>> {
        let (vb, x) = (store.var_builder(DType::F32), x.clone());
        Ok(match self {
            Self::Classifier { entry, classes } => {
                let model = (entry.config)(classes).build(vb)?;
                let labels = cycle(x.dim(0)?, classes, &x)?;
                Box::new(move || {
                    let logits = model.forward(&x, Mode::Train)?.logits;
                    taper::kernels::cross_entropy(&logits, &labels, 0.0)
                })
            }
            Self::Velocity(entry) => {
                let mut forward = velocity(entry, (entry.config)().build(vb)?, &x)?;
                let mut random = stream(0, "bench dropout", 0);
                // A coupling network answers twice as many channels.
                let channels = x.dim(1)?;
                Box::new(move || {
                    let v = forward(Dropout::On(&mut random))?.narrow(1, 0, channels)?;
                    (v - &x)?.sqr()?.mean_all()
                })
            }
        })
    }

    /// A forward pass for evaluation.
    pub fn inference(
        self,
        store: &ParameterStore,
        x: &Tensor,
    ) -> Result<Box<dyn FnMut() -> Result<()>>> {
        let (learning, frozen) = (store.var_builder(DType::F32), store);
        let x = x.clone();
        Ok(match self {
            Self::Classifier { entry, classes } => {
                let config = (entry.config)(classes);
                config.build(learning)?;
                let model = config.build(frozen.frozen(DType::F32))?;
                Box::new(move || model.forward(&x, Mode::Eval).map(drop))
            }
            Self::Velocity(entry) => {
                (entry.config)().build(learning)?;
                let network = (entry.config)().build(frozen.frozen(DType::F32))?;
                let mut forward = velocity(entry, network, &x)?;
                Box::new(move || forward(Dropout::Off).map(drop))
            }
        })
    }
}

/// 0, 1, … below `count`, over and over.
fn cycle(batch: usize, count: usize, like: &Tensor) -> Result<Tensor> {
    Tensor::from_iter((0..batch).map(|i| (i % count) as u32), like.device())
}

/// The first head's velocity at x and times spread over 0..1.
fn velocity(
    entry: &VelocityEntry,
    network: Box<dyn VelocityNetwork>,
    x: &Tensor,
) -> Result<impl FnMut(Dropout<'_>) -> Result<Tensor> + use<>> {
    let config = (entry.config)();
    let batch = x.dim(0)?;
    let times = (0..batch).map(|i| (i as f32 + 0.5) / batch as f32);
    let t = Tensor::from_iter(times, x.device())?;
    let class = config.classes().map(|classes| cycle(batch, classes, x));
    let (class, x) = (class.transpose()?, x.clone());
    Ok(move |dropout: Dropout<'_>| {
        let mut heads = network.forward(&x, &t, class.as_ref(), dropout)?;
        Ok(heads.swap_remove(0))
    })
}
