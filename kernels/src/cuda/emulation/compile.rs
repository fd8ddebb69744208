//! An operator's kernels compiled for the CPU.

use super::Sanitizer;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

impl Sanitizer {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Address => &[
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=all",
                "-fno-sanitize=float-cast-overflow,float-divide-by-zero",
            ],
            Self::Thread => &["-fsanitize=thread"],
        }
    }
}

/// The program that runs the kernels of `source` in blocks of `threads`; compiled unless that was done before.
pub(super) fn program(source: &Path, sanitizer: Sanitizer, threads: usize) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (headers, runtime) = (root.join("src/cuda"), root.join("emulation"));
    let beside = source.parent().unwrap();
    let mut hasher = DefaultHasher::new();
    (threads, source).hash(&mut hasher);
    for folder in [&headers, &runtime, beside] {
        for source in sources(folder) {
            std::fs::read(source).unwrap().hash(&mut hasher);
        }
    }
    let folder = Path::new(env!("OUT_DIR")).join("emulation");
    std::fs::create_dir_all(&folder).unwrap();
    let stem = source.file_stem().unwrap().to_string_lossy();
    let program = folder.join(format!("{stem}-{sanitizer:?}-{:016x}", hasher.finish()));
    if program.exists() {
        return program;
    }
    // Tests run at once: each compiles in a folder of its own, and the last to finish wins.
    let scratch = tempfile::tempdir_in(&folder).unwrap();
    let made = |name: &str| scratch.path().join(name);
    let mut compile = compiler(threads);
    compile
        .args(["-O1", "-I"])
        .arg(&runtime)
        .arg("-I")
        .arg(&headers);
    compile.args(sanitizer.flags()).args(["-x", "c++", "-c"]);
    run(compile.arg(source).arg("-o").arg(made("kernels.o")));
    let mut compile = compiler(threads);
    compile.args(["-O2", "-c"]).arg(runtime.join("runtime.cpp"));
    run(compile.arg("-o").arg(made("runtime.o")));
    let mut link = Command::new("g++");
    link.args(sanitizer.flags());
    link.args([made("kernels.o"), made("runtime.o")]);
    run(link.arg("-o").arg(made("program")));
    std::fs::rename(made("program"), &program).unwrap();
    program
}

/// The C++ files of a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let kinds = ["cu", "cuh", "cpp", "hpp"];
    files.retain(|path| {
        let kind = path.extension().unwrap_or_default();
        kinds.iter().any(|known| kind == *known)
    });
    files.sort();
    files
}

fn compiler(threads: usize) -> Command {
    let mut compiler = Command::new("g++");
    compiler.args([
        "-std=c++20",
        "-g",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-DTAPER_EMULATION",
    ]);
    compiler.arg(format!("-DTAPER_THREADS={threads}"));
    compiler
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{messages}");
}
