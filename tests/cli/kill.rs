//! Killed at any instant and resumed, a run ends with the same bytes.

use crate::support::Folder;
use rand::Rng;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kills a process of its run.
const KILLS: usize = 6;

/// Starts `arguments`, kills it after a random part of `longest`; says whether it still ran.
fn kill_within(folder: &Folder, arguments: &[&str], delay: Duration) -> bool {
    let mut command = folder.command(arguments);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

fn interrupt_and_compare(start: &[&str], verb: &[&str], files: &[&str]) {
    let folder = Folder::new();
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    println!("delays drawn from seed {seed}");
    let mut random = taper::kernels::random::stream(seed, "kill", 0);

    let begun = std::time::Instant::now();
    folder.ok(&[start, &["--out", "whole", "--quiet"]].concat());
    let whole = begun.elapsed();

    let mut first = true;
    let mut kills = 0;
    while kills < KILLS {
        let delay = whole.mul_f64(random.random_range(0.05..0.6));
        let begin = [start, &["--out", "cut", "--quiet"]].concat();
        let resume = [verb, &["--resume", "cut", "--quiet"]].concat();
        let running = kill_within(&folder, if first { &begin } else { &resume }, delay);
        // Until `config.toml` is there, there is no run to go on with.
        first = !folder.path("cut/config.toml").exists();
        kills += 1;
        if !running && !first {
            break;
        }
    }
    if first {
        folder.ok(&[start, &["--out", "cut", "--quiet"]].concat());
    } else {
        folder.ok(&[verb, &["--resume", "cut", "--quiet"]].concat());
    }
    for file in files {
        let read = |run: &str| std::fs::read(folder.path(run).join(file)).unwrap();
        assert!(
            read("whole") == read("cut"),
            "{file}, seed {seed}, {kills} kills"
        );
    }
}

#[test]
fn a_training() {
    let start = [
        "train",
        "resnet8",
        "--data",
        "digits",
        "--epochs",
        "4",
        "--ema",
        "0.9",
        "--checkpoint-every",
        "3",
    ];
    interrupt_and_compare(&start, &["train"], &["model.safetensors"]);
}

#[test]
fn a_comparison() {
    let start = [
        "distill",
        "--teacher",
        "resnet8",
        "--student",
        "resnet8",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--seeds",
        "0..1",
        "--method",
        "kd,norm",
    ];
    let files = [
        "teacher/model.safetensors",
        "kd/seed0/model.safetensors",
        "kd/seed1/model.safetensors",
        "norm/seed0/model.safetensors",
        "norm/seed1/model.safetensors",
    ];
    interrupt_and_compare(&start, &["distill"], &files);
}

#[test]
fn a_diffusion_with_stages() {
    let start = [
        "diffusion",
        "train",
        "--data",
        "checkerboard",
        "--method",
        "consistency",
        "--epochs",
        "3",
        "--batch",
        "64",
        "--checkpoint-every",
        "7",
        "--set",
        "steps_per_epoch=60",
        "--set",
        "evaluation.samples=32",
    ];
    let files = ["teacher/model.safetensors", "model.safetensors"];
    interrupt_and_compare(&start, &["diffusion", "train"], &files);
}

#[test]
fn ctrl_c_ends_in_order() {
    let folder = Folder::new();
    let arguments = [
        "train", "resnet20", "--data", "digits", "--epochs", "200", "--out", "run",
    ];
    let child = folder
        .command(&arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Until the first checkpoint the training surely runs.
    let checkpoints = folder.path("run/checkpoint");
    for _ in 0..1200 {
        if checkpoints
            .read_dir()
            .is_ok_and(|mut files| files.next().is_some())
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("taper train --resume run"), "{text}");
}
