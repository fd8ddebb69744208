//! Starting `taper` and reading what it says.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The program built for these tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_taper");

/// A fresh folder in which commands run.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.0.path()).args(arguments);
        command.env_remove("TAPER_DATA");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer(self.command(arguments).output().unwrap())
    }

    /// Runs and demands success.
    pub fn ok(&self, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments);
        assert_eq!(answer.code(), 0, "{arguments:?}: {}", answer.errors());
        answer
    }

    /// Runs, demands exit code 1 and an orderly message; gives the message.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        let text = answer.errors();
        assert_eq!(answer.code(), 1, "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.lines().count() <= 6, "{text}");
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!text.contains(word), "{text}");
        }
        text
    }
}

/// What a command left.
pub struct Answer(Output);

impl Answer {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn errors(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Every line of stdout as JSON; each has `"schema": 1`.
    pub fn events(&self) -> Vec<Value> {
        let events: Vec<Value> = self
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        assert!(events.iter().all(|event| event["schema"] == 1));
        events
    }

    /// The last, or only, JSON object.
    pub fn json(&self) -> Value {
        self.events().pop().expect("an answer on stdout")
    }
}

/// Names of the tensors in a safetensors file.
pub fn tensor_names(path: &Path) -> Vec<String> {
    let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
    let mut names: Vec<_> = tensors.into_keys().collect();
    names.sort();
    names
}
