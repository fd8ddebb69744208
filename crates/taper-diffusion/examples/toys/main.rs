//! The table of the checkerboard: every method and head at 1 to 16 Euler steps, over several seeds.
//!
//! `cargo run --release -p taper-diffusion --example toys -- OUT 0 1 2` trains what OUT lacks and prints the
//! table; killed and started again it goes on. Seeds may be split between processes with one OUT;
//! `-- OUT` alone prints the table of what is there.
#![allow(clippy::print_stdout)]

mod rows;
mod table;

use rows::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use taper_diffusion::measures::wasserstein2;
use taper_diffusion::samplers::{Rule, SamplerConfig};
use taper_diffusion::{
    Toy, load_network, point_reference, point_scores, stage_folder, train_diffusion,
};
use taper_train::{Progress, RunDirectory};

/// The columns.
pub const STEPS: [usize; 5] = [1, 2, 4, 8, 16];
/// Points measured.
const POINTS: usize = 2_000;
const TOY: Toy = Toy::Checkerboard;

/// What one network scored; a line of the results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    row: String,
    seed: u64,
    /// W2 at each of the steps that the row has.
    w2: BTreeMap<usize, f64>,
    straightness: Option<f64>,
    /// Wall-clock of the training, 0 for further heads of a network.
    seconds: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().ok_or("expected a folder, then seeds")?);
    let seeds: Vec<u64> = arguments
        .map(|seed| seed.parse())
        .collect::<Result<_, _>>()?;
    std::fs::create_dir_all(&out)?;
    // The networks are too small for two threads: give each core a seed of its own.
    taper_kernels::threads::set_threads(1);
    taper_train::run_on_big_stack(|| -> Result<(), String> {
        for &seed in &seeds {
            run_seed(&out, seed).map_err(|error| error.to_string())?;
        }
        Ok(())
    })??;
    println!("{}", table::table(&read_all(&out)?));
    Ok(())
}

fn run_seed(out: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    let file = out.join(format!("results-{seed}.jsonl"));
    let known = read(&file)?;
    let write = |scores: Scores| -> Result<(), Box<dyn Error>> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)?;
        Ok(writeln!(file, "{}", serde_json::to_string(&scores)?)?)
    };
    if !known.iter().any(|scores| scores.row == table::FLOOR) {
        write(floor(seed)?)?;
    }
    for row in rows::rows(out, seed) {
        let names = row.names();
        if names
            .iter()
            .all(|name| known.iter().any(|scores| &scores.row == name))
        {
            continue;
        }
        for scores in train_and_score(out, &row, seed)? {
            write(scores)?;
        }
    }
    Ok(())
}

/// The distance that points of the data themselves have from the reference.
fn floor(seed: u64) -> Result<Scores, Box<dyn Error>> {
    let mut random = taper_kernels::random::stream(seed, "floor", 0);
    let points = TOY.draw(POINTS, &mut random);
    let points = candle_core::Tensor::from_vec(points, (POINTS, 2), &candle_core::Device::Cpu)?;
    let w2 = wasserstein2(&points, &point_reference(TOY, POINTS, seed)?)?;
    Ok(Scores {
        row: table::FLOOR.into(),
        seed,
        w2: STEPS.map(|steps| (steps, w2)).into(),
        straightness: None,
        seconds: 0.0,
    })
}

fn train_and_score(out: &Path, row: &Row, seed: u64) -> Result<Vec<Scores>, Box<dyn Error>> {
    let folder = rows::folder(out, &row.name, seed);
    let run = match folder.join(taper_train::CONFIG_FILE).exists() {
        true => RunDirectory::open(&folder)?,
        false => RunDirectory::create(&folder, &row.config)?,
    };
    let began = Instant::now();
    let stop = AtomicBool::new(false);
    train_diffusion(&row.config, &run, &mut Progress::quiet(), &stop)?;
    let seconds = began.elapsed().as_secs_f64();
    let mut found = Vec::new();
    for (index, name) in row.names().into_iter().enumerate() {
        let mut w2 = BTreeMap::new();
        let mut straightness = None;
        for steps in STEPS {
            // Progressive Distillation has a network for each column, and its teacher at the last.
            let network = match row.own_networks {
                true if steps == 16 => row.config.teacher.weights.clone().unwrap_or_default(),
                true => folder.join(stage_folder(steps)),
                false => folder.clone(),
            };
            let network = load_network(network)?;
            let sampler = SamplerConfig::of(Rule::Euler, steps);
            let scores = point_scores(&*network.network, TOY, index + 1, &sampler, POINTS, seed)?;
            w2.insert(steps, scores.w2);
            if steps == 16 && !row.own_networks {
                straightness = scores.straightness;
            }
        }
        println!("seed {seed}: {name} {w2:?} {straightness:?} {seconds:.0} s");
        found.push(Scores {
            row: name,
            seed,
            w2,
            straightness,
            seconds: if index == 0 { seconds } else { 0.0 },
        });
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<Scores>, Box<dyn Error>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn read_all(out: &Path) -> Result<Vec<Scores>, Box<dyn Error>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            all.extend(read(&path)?);
        }
    }
    Ok(all)
}
