//! Killed at any instant and resumed, a run ends with the bits of the uninterrupted one; and a disk
//! that fills up during a checkpoint costs nothing that was already saved.
//!
//! The trainings run in child processes: this test program calls itself (`child_process`).

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod tiny;

use rand::Rng;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use taper_kernels::random::{Random, stream};
use taper_train::{
    CHECKPOINT_FOLDER, METRICS_FILE, MODEL_FILE, Progress, RunDirectory, TrainConfig,
};

const DIRECTORY: &str = "TAPER_TRAIN_TEST_DIRECTORY";
/// Wide enough for a checkpoint of 3 MB, which takes a while to write.
const WIDTH: usize = 480;

#[test]
#[ignore = "the other tests run it in processes that they kill"]
fn child_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let run = RunDirectory::open(directory).unwrap();
    let config: TrainConfig = run.config().unwrap();
    let outcome = taper_train::run_on_big_stack(|| {
        let mut classifier = tiny::Classifier::new(WIDTH);
        let store = classifier.store.clone();
        let mut progress = Progress::lines(Box::new(std::io::stderr()));
        let stop = AtomicBool::new(false);
        taper_train::train(
            &config,
            &store,
            &mut classifier,
            &mut tiny::Source::new(),
            &run,
            &mut progress,
            &stop,
        )
        .map(|_| ())
    });
    if let Err(error) = outcome.unwrap() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "child_process", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn begin(directory: &Path, config: &TrainConfig) {
    RunDirectory::create(directory, config).unwrap();
}

fn finish(directory: &Path) {
    let status = command(directory).status().unwrap();
    assert!(status.success(), "{status}");
}

fn half_written(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory.join(CHECKPOINT_FOLDER)) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().ends_with(".partial"))
}

/// How many complete checkpoints there are.
fn checkpoints(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory.join(CHECKPOINT_FOLDER)) else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("step-"))
        .count()
}

/// Kills with SIGKILL; false if the child had ended by itself.
fn kill(mut child: Child) -> bool {
    use std::os::unix::process::ExitStatusExt;
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// Waits until a checkpoint is being written, or the child has ended.
fn await_checkpoint(child: &mut Child, directory: &Path, skip: Duration) {
    std::thread::sleep(skip);
    while !half_written(directory) && child.try_wait().unwrap().is_none() {
        std::hint::spin_loop();
    }
}

struct Uninterrupted {
    model: Vec<u8>,
    metrics: Vec<serde_json::Value>,
    took: Duration,
}

fn uninterrupted(root: &Path, config: &TrainConfig) -> Uninterrupted {
    let directory = root.join("whole");
    begin(&directory, config);
    let began = Instant::now();
    finish(&directory);
    Uninterrupted {
        model: std::fs::read(directory.join(MODEL_FILE)).unwrap(),
        metrics: tiny::timeless(&directory.join(METRICS_FILE)),
        took: began.elapsed(),
    }
}

/// Kills one run again and again until it has been killed `wanted` times or is finished; then lets it
/// finish and compares. Returns how often it was killed, and how often during a checkpoint.
fn one_run(
    directory: &Path,
    config: &TrainConfig,
    whole: &Uninterrupted,
    random: &mut Random,
) -> (u32, u32) {
    begin(directory, config);
    let (mut kills, mut during_checkpoint) = (0, 0);
    while kills < 12 {
        let mut child = command(directory).spawn().unwrap();
        let delay = whole.took.mul_f64(random.random_range(0.0..0.4));
        if random.random_bool(0.5) {
            std::thread::sleep(delay);
        } else {
            await_checkpoint(&mut child, directory, delay.mul_f64(0.5));
        }
        if !kill(child) {
            break;
        }
        kills += 1;
        during_checkpoint += u32::from(half_written(directory));
    }
    finish(directory);
    let model = std::fs::read(directory.join(MODEL_FILE)).unwrap();
    assert!(
        model == whole.model,
        "the networks differ after {kills} kills"
    );
    let metrics = tiny::timeless(&directory.join(METRICS_FILE));
    assert_eq!(metrics, whole.metrics, "after {kills} kills");
    assert!(!half_written(directory));
    (kills, during_checkpoint)
}

fn killed_and_resumed(name: &str, config: &TrainConfig) {
    let seed = match std::env::var("TAPER_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(std::process::id()),
    };
    println!("{name}: TAPER_TEST_SEED={seed}");
    let root = tempfile::tempdir().unwrap();
    let whole = uninterrupted(root.path(), config);
    let mut random = stream(seed, name, 0);
    let (mut kills, mut during_checkpoint) = (0, 0);
    for run in 0..20 {
        let directory = root.path().join(format!("run{run}"));
        let (killed, during) = one_run(&directory, config, &whole, &mut random);
        kills += killed;
        during_checkpoint += during;
        if kills >= 8 && during_checkpoint >= 2 {
            break;
        }
    }
    println!("{name}: {kills} kills, {during_checkpoint} of them during a checkpoint");
    assert!(kills >= 8, "only {kills} kills");
    assert!(
        during_checkpoint >= 2,
        "only {during_checkpoint} during a checkpoint"
    );
}

#[test]
fn sgd_killed_and_resumed() {
    killed_and_resumed("sgd", &tiny::sgd());
}

#[test]
fn adamw_killed_and_resumed() {
    killed_and_resumed("adamw", &tiny::adamw());
}

/// The system refuses to let any file grow beyond 512 KiB: the checkpoint cannot be written.
#[test]
fn a_file_that_cannot_grow() {
    let root = tempfile::tempdir().unwrap();
    let whole = uninterrupted(root.path(), &tiny::sgd());
    let directory = root.path().join("full");
    begin(&directory, &tiny::sgd());
    let mut child = command(&directory).spawn().unwrap();
    while checkpoints(&directory) == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(child);

    // `trap ''` makes the refused write an error instead of a signal; children inherit both.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]);
    let own = command(&directory);
    limited.arg(own.get_program()).args(own.get_args());
    let output = limited.env(DIRECTORY, &directory).output().unwrap();
    refused(&directory, &output, "File too large");
    assert_eq!(output.status.code(), Some(1));
    finish(&directory);
    assert!(std::fs::read(directory.join(MODEL_FILE)).unwrap() == whole.model);
}

/// A real file system of 4 MB, which the first checkpoint nearly fills. Needs the right to mount one.
#[test]
fn a_full_disk() {
    let root = tempfile::tempdir().unwrap();
    let mount = Mounted::tmpfs(root.path().join("disk"), "4m");
    let Some(mount) = mount else {
        println!("skipped: not allowed to mount a small file system here");
        return;
    };
    let whole = uninterrupted(root.path(), &tiny::sgd());
    let directory = mount.0.join("run");
    begin(&directory, &tiny::sgd());
    let output = command(&directory).stderr(Stdio::piped()).output().unwrap();
    refused(&directory, &output, "No space left on device");
    // Room again, as after a person has tidied up.
    let status = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&mount.0)
        .status();
    assert!(status.unwrap().success());
    finish(&directory);
    assert!(std::fs::read(directory.join(MODEL_FILE)).unwrap() == whole.model);
}

/// The error names the file and the reason, nothing half-written is left, and the run can go on.
fn refused(directory: &Path, output: &std::process::Output, reason: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let line = text
        .lines()
        .find(|line| line.starts_with("error: cannot write"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("checkpoint/step-"), "{line}");
    assert!(line.contains(reason), "{line}");
    assert!(!half_written(directory));
    let left = checkpoints(directory);
    assert!((1..=2).contains(&left), "{left} checkpoints");
}

struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "taper-test"])
            .arg(&path)
            .stderr(Stdio::null())
            .status()
            .ok()?;
        status.success().then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
