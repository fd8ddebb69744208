//! `taper weights merge F --model M OUT`.

use super::limits::LimitArgs;
use super::progress::WriteBar;
use crate::Status;
use crate::download::{self, megabytes};
use crate::network;
use crate::output::Output;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper::distill::merge_checkpoint;
use taper::vision::registry::CONFIG_METADATA_KEY;
use taper::weights::{
    MergeOptions, MergeReport, WeightsError, average, fold_batch_norm, load_within, save, take_ema,
};

/// Makes one checkpoint out of one or several.
///
/// With --model alone: folds NORM's module out of a student in training, so that a plain network
/// remains. With --fold-bn: folds each batch norm into the convolution before it. With --average: the
/// mean of several files. With --ema: the moving averages that a training keeps beside its weights.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper weights merge student.pth --model resnet8 plain.safetensors
         taper weights merge plain.safetensors --model resnet8 --fold-bn folded.safetensors
         taper weights merge --average last1.pt last2.pt last3.pt mean.safetensors
         taper weights merge --ema checkpoint.pth ema.safetensors")]
pub struct MergeArgs {
    /// The checkpoint.
    #[arg(value_name = "F")]
    file: PathBuf,
    /// The safetensors file to write; before it, for --average, the other checkpoints.
    #[arg(value_name = "OUT", required = true)]
    others: Vec<PathBuf>,
    /// The network that the file belongs to.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Fold batch norms into convolutions.
    #[arg(long, requires = "model", conflicts_with_all = ["average", "ema"])]
    fold_bn: bool,
    /// Take the mean of all files.
    #[arg(long, conflicts_with_all = ["model", "ema"])]
    average: bool,
    /// Take the moving averages.
    #[arg(long, conflicts_with = "model")]
    ema: bool,
    /// The student was trained with NORM's plain module, without the residual.
    #[arg(long, requires = "model", conflicts_with = "fold_bn")]
    no_residual: bool,
    /// Replace OUT if it is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    output: PathBuf,
    #[serde(flatten)]
    report: MergeReport,
}

pub fn execute(args: &MergeArgs, output: &Output) -> anyhow::Result<Status> {
    let Some((out, more)) = args.others.split_last() else {
        anyhow::bail!("merge: expected a checkpoint and OUT");
    };
    let inputs: Vec<&PathBuf> = [&args.file].into_iter().chain(more).collect();
    if !args.average {
        anyhow::ensure!(
            inputs.len() == 1,
            "merge: {} files before {}; expected one, or --average",
            inputs.len(),
            out.display()
        );
    }
    let inputs = inputs
        .iter()
        .map(|input| download::resolve(input, output))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let options = MergeOptions {
        limits: args.limits.limits(),
        force: args.force,
    };
    let mut bar = WriteBar::new(out, output)?;
    let mut tell = |done, total| bar.tell(done, total);
    let report = match (args.average, args.ema, &args.model) {
        (true, _, _) => average(&inputs, out, &options, &mut tell),
        (_, true, _) => take_ema(&inputs[0], out, &options, &mut tell),
        (_, _, Some(model)) if args.fold_bn => {
            let entry = network::entry(model)?;
            fold_batch_norm(entry, &inputs[0], out, &options, &mut tell)
        }
        (_, _, Some(model)) => Ok(merge_student(args, model, &inputs[0], out)?),
        _ => anyhow::bail!(
            "merge: nothing to do; --model M folds NORM's module, --fold-bn batch norms, --average and --ema need no model"
        ),
    };
    let report = match report {
        Err(WeightsError::Stopped { .. }) if bar.interrupted() => {
            output.remark(&format!("{}: not written", out.display()));
            return Ok(Status::Interrupted);
        }
        report => report?,
    };
    for note in &report.notes {
        output.remark(note);
    }
    let answer = Answer {
        output: out.clone(),
        report,
    };
    output.answer(&answer, || match output.quiet {
        true => answer.output.display().to_string(),
        false => format!(
            "→ {}: {} tensors, {}",
            answer.output.display(),
            answer.report.tensors,
            megabytes(answer.report.bytes)
        ),
    })?;
    Ok(Status::Done)
}

/// NORM's module folded away; small files, so all in memory.
fn merge_student(
    args: &MergeArgs,
    model: &str,
    input: &Path,
    out: &Path,
) -> anyhow::Result<MergeReport> {
    let entry = network::entry(model)?;
    taper::weights::check_output(out, &[input.to_path_buf()], args.force)?;
    let checkpoint = load_within(input, &args.limits.limits())?;
    let merged = merge_checkpoint(entry, &checkpoint, !args.no_residual)?;
    let mut metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    metadata.insert(
        CONFIG_METADATA_KEY.to_string(),
        serde_json::to_string(&merged.config)?,
    );
    let normalisation = taper::weights::NORMALISATION_METADATA_KEY;
    if let Some(text) = checkpoint.metadata.get(normalisation) {
        metadata.insert(normalisation.to_string(), text.clone());
    }
    save(out, &merged.state, &metadata)?;
    let mut notes = vec!["NORM's module is folded away".to_string()];
    notes.extend(merged.remark.map(str::to_string));
    let bytes = |tensor: &candle_core::Tensor| {
        (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
    };
    Ok(MergeReport {
        tensors: merged.state.len(),
        bytes: merged.state.values().map(bytes).sum(),
        notes,
    })
}
