//! `taper bench kernels [NAME]`.

use crate::Status;
use crate::args::{DeviceName, Global};
use crate::output::Output;
use crate::training::directory;
use anyhow::Context;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use taper_benches::{Case, Machine, Mode, Peer, Roofs, Row, Settings, cases, csv, roofline, run};

/// What to time, and beside whom.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    /// Only operators whose name contains this; with a space, also their size: "conv2d 64x16".
    name: Option<String>,
    /// A Python with PyTorch that computes the same beside us.
    #[arg(long, value_name = "PYTHON", env = "TAPER_PEER_PYTHON")]
    peer: Option<PathBuf>,
    /// Turns of each side.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Milliseconds a turn.
    #[arg(long, value_name = "N", default_value_t = 40)]
    burst: u64,
    /// Where kernels.csv and the rooflines go [default: runs/DATE-bench-kernels-N].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct RowEvent<'a> {
    event: &'static str,
    #[serde(flatten)]
    row: &'a Row,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    event: &'static str,
    device: &'a str,
    threads: usize,
    peer: Option<&'a str>,
    copy_gb_s: f64,
    multiply_add_gflop_s: f64,
    rows: &'a [Row],
    out: &'a Path,
}

pub fn execute(args: &KernelsArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let device = global.device()?;
    let chosen = choose(args.name.as_deref())?;
    let machine = Machine {
        device: device_name(global.device),
        threads: global.thread_count(),
    };
    let mut peer = match &args.peer {
        Some(python) => Some(Peer::start(
            python,
            machine.threads,
            &peer_device(global.device),
        )?),
        None => {
            output.remark("without a peer; --peer PYTHON (or TAPER_PEER_PYTHON) puts PyTorch beside every row");
            None
        }
    };
    let settings = Settings {
        rounds: usize::from(args.rounds),
        burst: Duration::from_millis(args.burst),
    };
    let (roofs, mut rows) = Roofs::measure(&machine, &device)?;
    show(&rows, output)?;
    for (index, case) in chosen.iter().enumerate() {
        let mut remark = |text: &str| output.remark(text);
        let new = run(
            case,
            &settings,
            &machine,
            &roofs,
            &device,
            peer.as_mut(),
            &mut remark,
        )?;
        if output.json {
            show(&new, output)?;
        } else {
            output.remark(&format!(
                "{}/{} {} {}",
                index + 1,
                chosen.len(),
                case.kernel,
                case.size
            ));
        }
        rows.extend(new);
    }
    let out = directory(args.out.as_deref(), "bench-kernels");
    save(&out, &rows, &roofs)?;
    if output.json {
        output.json_line(&Answer {
            event: "result",
            device: &machine.device,
            threads: machine.threads,
            peer: peer.as_ref().map(|peer| peer.description.as_str()),
            copy_gb_s: roofs.bytes / 1e9,
            multiply_add_gflop_s: roofs.flops / 1e9,
            rows: &rows,
            out: &out,
        })?;
    } else {
        output.line(&table(&rows))?;
        let peer = peer
            .as_ref()
            .map_or("no peer", |peer| peer.description.as_str());
        output.line(&format!(
            "{}, {} threads; {peer}; ratio: Taper's median over the other's; kernels.csv and rooflines in {}",
            machine.device,
            machine.threads,
            out.display()
        ))?;
    }
    Ok(Status::Done)
}

/// The cases whose kernel, or kernel and size, contain `name`.
fn choose(name: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let all = cases();
    let mut names: Vec<&str> = all.iter().map(|case| case.kernel).collect();
    names.dedup();
    let names = names.join(", ");
    let wanted = |case: &Case| {
        name.is_none_or(|name| match name.contains(' ') {
            true => format!("{} {}", case.kernel, case.size).contains(name),
            false => case.kernel.contains(name),
        })
    };
    let chosen: Vec<Case> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        anyhow::bail!(
            "{}: no such operator; there are {names}",
            name.unwrap_or_default()
        );
    }
    Ok(chosen)
}

/// Rows as JSON lines; the table comes at the end.
fn show(rows: &[Row], output: &Output) -> anyhow::Result<()> {
    if output.json {
        for row in rows {
            output.json_line(&RowEvent { event: "row", row })?;
        }
    }
    Ok(())
}

fn save(out: &Path, rows: &[Row], roofs: &Roofs) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    write("kernels.csv", &csv(rows))?;
    for mode in [Mode::Forward, Mode::ForwardBackward] {
        if rows
            .iter()
            .any(|row| row.mode == mode && row.bytes > 0.0 && row.flops > 0.0)
        {
            let name = format!("roofline_{}.svg", mode.name());
            write(&name, &roofline(rows, roofs, mode)?)?;
        }
    }
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let heading = [
        "kernel",
        "size",
        "mode",
        "provider",
        "median ms",
        "p20",
        "p80",
        "GB/s",
        "GFLOP/s",
        "of peak",
        "bound",
        "ratio",
    ];
    table.set_header(heading);
    for row in rows {
        let ratio = row.ratio.filter(|_| row.provider != "taper");
        table.add_row([
            row.kernel.clone(),
            row.size.clone(),
            row.mode.name().to_owned(),
            row.provider.clone(),
            format!("{:.3}", row.median),
            format!("{:.3}", row.p20),
            format!("{:.3}", row.p80),
            format!("{:.1}", row.gb_s),
            format!("{:.1}", row.gflop_s),
            format!("{:.2}", row.fraction_of_peak),
            row.bound.to_owned(),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 3 && index != 10 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// What the peer calls the device.
fn peer_device(device: DeviceName) -> String {
    device.to_string()
}

/// The processor's model as the system tells it, or the GPU's number.
fn device_name(device: DeviceName) -> String {
    if device != DeviceName::Cpu {
        return device.to_string();
    }
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}
