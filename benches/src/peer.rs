//! PyTorch in a child process, asked line by line.
//!
//! The child is `pytorch/kernels.py`. Every line either way is one JSON object; tensors travel as
//! files of raw little-endian numbers in a temporary folder.

use crate::case::{Case, Mode, Values};
use anyhow::{Context, bail};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The programs of the child; they are part of ours, so that they always fit it.
const PROGRAMS: [(&str, &str); 2] = [
    ("kernels.py", include_str!("../pytorch/kernels.py")),
    (
        "triton_twins.py",
        include_str!("../pytorch/triton_twins.py"),
    ),
];
/// PyTorch at its best: glibc otherwise gives large blocks back and faults them in again at every call.
const KEEP_PAGES: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("MALLOC_TOP_PAD_", "268435456"),
];
/// Lines of the child's complaints that an error shows.
const COMPLAINT_LINES: usize = 3;

/// A running Python with PyTorch.
pub struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: TempDir,
    /// What runs there: `PyTorch 2.11.0 on cpu`.
    pub description: String,
}

/// A way of the peer to compute a case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Peer {
    /// Starts `python` with the thread count and device (`cpu`, `cuda:0`) that it is to use.
    ///
    /// # Errors
    /// If it does not start, or has no PyTorch that reaches the device.
    pub fn start(python: &Path, threads: usize, device: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in PROGRAMS {
            std::fs::write(folder.path().join(name), text)?;
        }
        let complaints = std::fs::File::create(folder.path().join("stderr"))?;
        let mut child = Command::new(python)
            .arg(folder.path().join("kernels.py"))
            .args(["--threads", &threads.to_string(), "--device", device])
            .env("OMP_NUM_THREADS", threads.to_string())
            .envs(KEEP_PAGES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .with_context(|| format!("--peer {}", python.display()))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("--peer {}: no pipes", python.display());
        };
        let mut peer = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            folder,
            description: String::new(),
        };
        let greeting = peer.ask(&json!({"command": "hello"})).with_context(|| {
            format!(
                "--peer {}: expected a Python with PyTorch",
                python.display()
            )
        })?;
        peer.description = greeting["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(peer)
    }

    /// Hands a case over; answers with the ways there are to compute it, none if the peer does not know the kernel.
    pub(crate) fn prepare(&mut self, case: &Case) -> anyhow::Result<Vec<Provider>> {
        let tensors = case.arguments(DType::F32, &Device::Cpu, false)?;
        let mut arguments = Vec::new();
        for (argument, tensor) in case.arguments.iter().zip(&tensors) {
            let file = self.write(argument.name, tensor)?;
            let integers = matches!(argument.values, Values::Counting(_));
            arguments.push(
                json!({"name": argument.name, "dims": argument.dims, "file": file,
                "integers": integers, "learned": argument.learned}),
            );
        }
        let answer = self.ask(&json!({"command": "case", "kernel": case.kernel,
            "arguments": arguments, "options": case.options, "differentiable": case.differentiable()}))?;
        Ok(serde_json::from_value(answer["providers"].clone())?)
    }

    /// Result and gradients of the case at hand.
    pub(crate) fn results(
        &mut self,
        provider: &str,
        upstream: &Tensor,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let file = self.write("upstream", upstream)?;
        let answer =
            self.ask(&json!({"command": "results", "provider": provider, "upstream": file}))?;
        let files: Vec<PathBuf> = serde_json::from_value(answer["files"].clone())?;
        files.iter().map(|file| read(file)).collect()
    }

    /// Seconds of each call of a burst.
    pub(crate) fn burst(
        &mut self,
        provider: &str,
        mode: Mode,
        budget: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        let answer = self.ask(
            &json!({"command": "burst", "provider": provider, "mode": mode,
            "seconds": budget.as_secs_f64(), "least": crate::clock::LEAST_CALLS}),
        )?;
        Ok(serde_json::from_value(answer["seconds"].clone())?)
    }

    fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        let mut line = String::new();
        let sent = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        if sent.is_err() || self.answers.read_line(&mut line)? == 0 {
            bail!("the peer ended: {}", self.complaint());
        }
        let answer: Value = serde_json::from_str(&line).context("the peer's answer")?;
        match answer["error"].as_str() {
            Some(error) => bail!("the peer failed: {error}"),
            None => Ok(answer),
        }
    }

    /// The last lines that the child wrote to stderr.
    fn complaint(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(COMPLAINT_LINES)..].join("; ")
    }

    fn write(&self, name: &str, tensor: &Tensor) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join(format!("{name}.raw"));
        let tensor = tensor.flatten_all()?;
        let bytes: Vec<u8> = match tensor.dtype() {
            DType::U32 => tensor
                .to_vec1::<u32>()?
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            _ => tensor
                .to_vec1::<f32>()?
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        };
        std::fs::write(&file, bytes)?;
        Ok(file)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<f64>> {
    let bytes = std::fs::read(file)?;
    let numbers = bytes.chunks_exact(4).map(|bytes| {
        let bytes = <[u8; 4]>::try_from(bytes).unwrap_or_default();
        f64::from(f32::from_le_bytes(bytes))
    });
    Ok(numbers.collect())
}
