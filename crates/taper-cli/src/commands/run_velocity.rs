//! `taper run MODEL` for velocity networks: `x` and `t` (and `class`) to `velocity`.

use super::run::{RunArgs, finish, joined};
use crate::output::Output;
use crate::{Status, download};
use anyhow::{Context, bail, ensure};
use candle_core::{DType, Tensor};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::Path;
use taper::velocity::{Dropout, Preconditioning, VelocityEntry, VelocityNetwork};

/// Samples a pass: bounds the memory, changes no result.
const CHUNK: usize = 16;

/// How a denoiser is made of the network.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// EDM's preconditioning.
    Edm,
    /// Preserved variance.
    Vp,
    /// Exploding variance.
    Ve,
}

impl From<Kind> for Preconditioning {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Edm => Self::EDM,
            Kind::Vp => Self::VariancePreserving,
            Kind::Ve => Self::VarianceExploding,
        }
    }
}

/// `--phi off` or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phi(Option<f64>);

impl std::str::FromStr for Phi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("off", _) => Ok(Self(None)),
            (_, Ok(phi)) if (0.0..=1.0).contains(&phi) => Ok(Self(Some(phi))),
            _ => Err("expected `off` or a number from 0 to 1, as 0.75".into()),
        }
    }
}

pub fn execute(
    args: &RunArgs,
    entry: &'static VelocityEntry,
    output: &Output,
) -> anyhow::Result<Status> {
    ensure!(
        args.classes.is_none(),
        "--classes: {} has its classes from the weights; leave it out",
        entry.name
    );
    ensure!(
        args.preconditioned.is_none() || entry.preconditioning.is_some(),
        "--preconditioned: {} gives a velocity and no denoiser; leave it out",
        entry.name
    );
    let weights = download::weights(&args.weights, output)?;
    let phi = args.phi.map(|Phi(phi)| phi);
    let loaded = taper::weights::load_velocity(entry, &weights, phi)
        .with_context(|| format!("--weights {}", weights.display()))?;
    let input = Input::read(&args.input, loaded.network.as_ref(), entry)?;
    let preconditioning = args.preconditioned.map(Preconditioning::from);
    let tensors = answer(loaded.network.as_ref(), &input, preconditioning, args.all)
        .with_context(|| format!("{} on x {:?}", entry.name, input.x.dims()))?;
    let ignored = loaded.report.ignored;
    finish(args, entry.name, &tensors, ignored, Vec::new(), output)
}

/// The tensors of `--input`, checked against the network.
struct Input {
    x: Tensor,
    t: Tensor,
    class: Option<Tensor>,
}

impl Input {
    fn read(
        path: &Path,
        network: &dyn VelocityNetwork,
        entry: &VelocityEntry,
    ) -> anyhow::Result<Self> {
        let file =
            taper::weights::load(path).with_context(|| format!("--input {}", path.display()))?;
        let found = || {
            let names: Vec<_> = file.tensors.keys().map(String::as_str).collect();
            match names.is_empty() {
                true => "none".to_string(),
                false => names.join(", "),
            }
        };
        let tensor = |name: &str| {
            let tensor = file.tensors.get(name);
            tensor.with_context(|| {
                format!(
                    "--input {}: no tensor `{name}`; found {}",
                    path.display(),
                    found()
                )
            })
        };
        let x = tensor("x")?.to_dtype(DType::F32)?;
        let [first, ..] = *x.dims() else {
            bail!(
                "--input {}: `x` is a single number; {} reads a batch of {:?}",
                path.display(),
                entry.name,
                entry.input
            )
        };
        ensure!(
            first > 0,
            "--input {}: `x` is {:?}; at least one sample is needed",
            path.display(),
            x.dims()
        );
        let t = tensor("t")?.to_dtype(DType::F32)?;
        ensure!(
            t.dims() == [first],
            "--input {}: `t` is {:?}; the batch of x needs [{first}]",
            path.display(),
            t.dims()
        );
        let class = match network.classes() {
            None => None,
            Some(classes) => Some(classes_of(tensor("class")?, first, classes, path)?),
        };
        Ok(Self { x, t, class })
    }

    /// Samples `start` to `start + count`.
    fn part(&self, start: usize, count: usize) -> candle_core::Result<Self> {
        let part = |tensor: &Tensor| tensor.narrow(0, start, count)?.contiguous();
        Ok(Self {
            x: part(&self.x)?,
            t: part(&self.t)?,
            class: self.class.as_ref().map(part).transpose()?,
        })
    }
}

/// Classes as `u32`, from any type of whole numbers.
fn classes_of(class: &Tensor, batch: usize, classes: usize, path: &Path) -> anyhow::Result<Tensor> {
    let whole = matches!(class.dtype(), DType::U8 | DType::U32 | DType::I64);
    ensure!(
        whole && class.dims() == [batch],
        "--input {}: `class` is {:?} {:?}; the network needs whole numbers [{batch}]",
        path.display(),
        class.dtype(),
        class.dims()
    );
    let numbers: Vec<i64> = class.to_dtype(DType::I64)?.to_vec1()?;
    let bad = numbers
        .iter()
        .find(|&&number| !usize::try_from(number).is_ok_and(|number| number < classes));
    if let Some(bad) = bad {
        bail!(
            "--input {}: `class` has {bad}; the network has classes 0 to {}",
            path.display(),
            classes - 1
        );
    }
    Ok(class.to_dtype(DType::U32)?)
}

/// `velocity`, and with `all` the further heads `velocity.2`, `velocity.3`.
fn answer(
    network: &dyn VelocityNetwork,
    input: &Input,
    preconditioning: Option<Preconditioning>,
    all: bool,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let batch = input.x.dim(0)?;
    let mut parts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for start in (0..batch).step_by(CHUNK) {
        let Input { x, t, class } = input.part(start, CHUNK.min(batch - start))?;
        let heads = match preconditioning {
            Some(kind) => vec![kind.denoise(network, &x, &t, class.as_ref())?],
            None => network.forward(&x, &t, class.as_ref(), Dropout::Off)?,
        };
        for (index, head) in heads.into_iter().enumerate() {
            match index {
                0 => parts.entry("velocity".into()).or_default().push(head),
                _ if all => {
                    let name = format!("velocity.{}", index + 1);
                    parts.entry(name).or_default().push(head);
                }
                _ => {}
            }
        }
    }
    joined(&parts)
}

#[cfg(test)]
mod tests {
    use super::Phi;

    #[test]
    fn phi_is_off_or_a_number() {
        assert_eq!("off".parse(), Ok(Phi(None)));
        assert_eq!("0.75".parse(), Ok(Phi(Some(0.75))));
        for bad in ["", "1.5", "-0.1", "nan", "on"] {
            assert!(bad.parse::<Phi>().is_err(), "{bad}");
        }
    }
}
