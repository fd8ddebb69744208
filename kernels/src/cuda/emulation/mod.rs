//! A GPU emulated on the CPU, for tests: the operator's `.cu`, compiled by g++ against
//! `emulation/` and run in a process of its own under a sanitizer.

mod compare;
mod compile;

pub(crate) use compare::{TYPES, assert_close, numbers, rounded};

use super::{Argument, Gpu, Grid, Kernel, View};
use candle_core::{DType, Result};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

/// What watches the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sanitizer {
    /// Accesses out of bounds, misaligned ones, undefined arithmetic.
    Address,
    /// Races between the threads of a block and between blocks.
    Thread,
}

/// Runs `test` on the kernels of `source` (a path under `src/`) once under each sanitizer, in
/// blocks of two warps.
///
/// Without g++ it says so and does nothing.
pub(crate) fn emulate(source: &str, test: impl Fn(&Emulation)) {
    emulate_blocks_of(64, source, test);
}

/// Whether there is a compiler; says so if not.
fn available(source: &str) -> bool {
    let found = Command::new("g++").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {source} is not emulated, since there is no g++");
    }
    found
}

/// [`emulate`] for kernels that need more `threads` in a block.
pub(crate) fn emulate_blocks_of(threads: usize, source: &str, test: impl Fn(&Emulation)) {
    if !available(source) {
        return;
    }
    for sanitizer in [Sanitizer::Address, Sanitizer::Thread] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(source);
        let emulation = Emulation::start(&source, sanitizer, threads);
        test(&emulation);
        emulation.finish().unwrap();
    }
}

/// An emulated GPU.
pub(crate) struct Emulation {
    channel: Rc<RefCell<Channel>>,
    next: Cell<u64>,
    threads: usize,
    module: String,
}

/// The process and its pipes.
struct Channel {
    process: Child,
    commands: Option<ChildStdin>,
    answers: ChildStdout,
    messages: tempfile::NamedTempFile,
}

/// Memory of the emulated GPU.
pub(crate) struct Memory {
    name: u64,
    dtype: DType,
    length: usize,
    channel: Rc<RefCell<Channel>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let command = [b"f".as_slice(), &self.name.to_le_bytes()].concat();
        // A device that a sanitizer has stopped takes no commands.
        let _ = self.channel.borrow_mut().send(&command);
    }
}

impl Channel {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let Some(commands) = &mut self.commands else {
            candle_core::bail!("the emulation is closed");
        };
        match commands.write_all(command).and_then(|()| commands.flush()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure()),
        }
    }

    fn receive(&mut self, answer: &mut [u8]) -> Result<()> {
        match self.answers.read_exact(answer) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure()),
        }
    }

    /// Waits for the process to end and says what it said.
    fn failure(&mut self) -> candle_core::Error {
        self.commands = None;
        let status = self.process.wait().unwrap();
        let said = std::fs::read_to_string(self.messages.path()).unwrap();
        candle_core::Error::Msg(format!("the emulation ended with {status}:\n{said}"))
    }
}

impl Emulation {
    /// A GPU that has the kernels of `source`.
    pub(crate) fn start(source: &Path, sanitizer: Sanitizer, threads: usize) -> Self {
        let program = compile::program(source, sanitizer, threads);
        let messages = tempfile::NamedTempFile::new().unwrap();
        let mut process = Command::new(program)
            .env("TSAN_OPTIONS", "halt_on_error=1:exitcode=66")
            .env("UBSAN_OPTIONS", "print_stacktrace=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut channel = Channel {
            commands: process.stdin.take(),
            answers: process.stdout.take().unwrap(),
            process,
            messages,
        };
        channel.receive(&mut [0]).unwrap();
        Self {
            channel: Rc::new(RefCell::new(channel)),
            next: Cell::new(0),
            threads,
            module: source.file_stem().unwrap().to_string_lossy().into_owned(),
        }
    }

    /// Ends the process; an error if a sanitizer had something to say.
    pub(crate) fn finish(self) -> Result<()> {
        let mut channel = self.channel.borrow_mut();
        channel.commands = None;
        match channel.process.wait().unwrap().success() {
            true => Ok(()),
            false => Err(channel.failure()),
        }
    }

    /// `values`, rounded to `dtype`, on the device.
    pub(crate) fn upload(&self, values: &[f64], dtype: DType) -> Memory {
        let bytes: Vec<u8> = match dtype {
            DType::F64 => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            DType::F32 => values
                .iter()
                .flat_map(|&value| (value as f32).to_le_bytes())
                .collect(),
            DType::F16 => values
                .iter()
                .flat_map(|&value| half::f16::from_f64(value).to_le_bytes())
                .collect(),
            DType::BF16 => values
                .iter()
                .flat_map(|&value| half::bf16::from_f64(value).to_le_bytes())
                .collect(),
            DType::U32 => values
                .iter()
                .flat_map(|&value| (value as u32).to_le_bytes())
                .collect(),
            DType::I64 => values
                .iter()
                .flat_map(|&value| (value as i64).to_le_bytes())
                .collect(),
            DType::U8 => values.iter().map(|&value| value as u8).collect(),
            other => panic!("no numbers of type {other:?}"),
        };
        let memory = self.allocate(dtype, values.len()).unwrap();
        let command = [b"w".as_slice(), &memory.name.to_le_bytes(), &bytes].concat();
        self.channel.borrow_mut().send(&command).unwrap();
        memory
    }

    /// What `memory` holds.
    pub(crate) fn download(&self, memory: &Memory) -> Vec<f64> {
        let size = memory.dtype.size_in_bytes();
        let mut bytes = vec![0; memory.length * size];
        let mut channel = self.channel.borrow_mut();
        let command = [b"r".as_slice(), &memory.name.to_le_bytes()].concat();
        channel.send(&command).unwrap();
        channel.receive(&mut bytes).unwrap();
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let number = |bytes: &[u8]| match memory.dtype {
            DType::F64 => f64::from_bits(word(bytes)),
            DType::F32 => f32::from_bits(word(bytes) as u32).into(),
            DType::F16 => half::f16::from_bits(word(bytes) as u16).to_f64(),
            DType::BF16 => half::bf16::from_bits(word(bytes) as u16).to_f64(),
            _ => word(bytes) as f64,
        };
        bytes.chunks_exact(size).map(number).collect()
    }
}

impl Gpu for Emulation {
    type Memory = Memory;

    fn allocate(&self, dtype: DType, length: usize) -> Result<Memory> {
        let name = self.next.replace(self.next.get() + 1);
        let bytes = (length * dtype.size_in_bytes()) as u64;
        let command = [b"a".as_slice(), &name.to_le_bytes(), &bytes.to_le_bytes()].concat();
        self.channel.borrow_mut().send(&command)?;
        Ok(Memory {
            name,
            dtype,
            length,
            channel: self.channel.clone(),
        })
    }

    fn view<'a>(&self, memory: &'a Memory) -> View<'a, Memory> {
        View {
            memory,
            dtype: memory.dtype,
            start: 0,
            length: memory.length,
        }
    }

    fn launch(
        &self,
        kernel: Kernel<'_>,
        grid: Grid,
        arguments: &mut [Argument<'_, Memory>],
    ) -> Result<()> {
        assert_eq!(
            kernel.module, self.module,
            "the kernel is of another source"
        );
        let mut command = vec![b'l'];
        command.extend((kernel.name.len() as u32).to_le_bytes());
        command.extend(kernel.name.as_bytes());
        for count in grid
            .0
            .into_iter()
            .chain([self.threads as u32, arguments.len() as u32])
        {
            command.extend(count.to_le_bytes());
        }
        let pointer = |command: &mut Vec<u8>, memory: &Memory, start: usize| {
            command.push(b'p');
            command.extend(memory.name.to_le_bytes());
            command.extend(((start * memory.dtype.size_in_bytes()) as u64).to_le_bytes());
        };
        let value = |command: &mut Vec<u8>, bits: u64| {
            command.push(b'v');
            command.extend(bits.to_le_bytes());
        };
        for argument in arguments.iter() {
            match argument {
                Argument::Read(view) => pointer(&mut command, view.memory, view.start),
                Argument::Write(memory, start) => pointer(&mut command, memory, *start),
                Argument::Absent => value(&mut command, 0),
                Argument::Int(number) => value(&mut command, *number as u32 as u64),
                Argument::Long(number) => value(&mut command, *number as u64),
                Argument::Real(number) => value(&mut command, number.to_bits()),
            }
        }
        let mut channel = self.channel.borrow_mut();
        channel.send(&command)?;
        channel.receive(&mut [0])
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn most_blocks(&self) -> usize {
        3
    }
}

/// The emulation itself: faults must be seen.
#[cfg(test)]
mod tests {
    use super::*;

    /// What two blocks of the kernel wrote, or what was reported.
    fn run(kernel: &str, sanitizer: Sanitizer) -> Result<Vec<f64>> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulation/faulty.cu");
        let gpu = Emulation::start(&source, sanitizer, 64);
        let mut values = gpu.allocate(DType::F32, 128)?;
        let kernel = Kernel {
            module: "faulty",
            name: kernel,
        };
        let mut arguments = [Argument::write(&mut values), Argument::size(128)];
        gpu.launch(kernel, Grid([2, 1, 1]), &mut arguments)?;
        let values = gpu.download(&values);
        gpu.finish()?;
        Ok(values)
    }

    #[test]
    fn faults_are_reported() {
        if !available("faulty.cu") {
            return;
        }
        use Sanitizer::{Address, Thread};
        for sanitizer in [Address, Thread] {
            let values = run("right", sanitizer).unwrap();
            let expected: Vec<f64> = (0..128).map(|index| f64::from(63 - index % 64)).collect();
            assert_eq!(values, expected);
            let values = run("half_written", sanitizer).unwrap();
            assert!(values.iter().skip(1).step_by(2).all(|value| value.is_nan()));
        }
        for (kernel, sanitizer, report) in [
            ("no_barrier", Thread, "data race"),
            ("one_address_of_two_blocks", Thread, "data race"),
            ("behind_the_end", Address, "heap-buffer-overflow"),
            ("behind_the_shared_end", Address, "heap-buffer-overflow"),
            ("misaligned", Address, "misaligned address"),
            ("half_a_barrier", Address, "do not meet at one barrier"),
            ("missing", Address, "no kernel named missing"),
        ] {
            let error = run(kernel, sanitizer).unwrap_err().to_string();
            assert!(error.contains(report), "{kernel}: {error}");
        }
    }
}
