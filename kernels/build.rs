//! With the feature `cuda`: compiles every `src/**/*.cu` to PTX. Without it: nothing.
//!
//! nvcc is found as `$NVCC`, in `$CUDA_HOME/bin` or `$CUDA_PATH/bin`, on `PATH`, or under
//! `/usr/local/cuda/bin`. The PTX is for compute capability 8.0, which the driver compiles
//! for every later GPU when the program first uses it.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    if let Err(message) = compile_all() {
        println!("cargo::error={}", message.replace('\n', " | "));
    }
}

fn compile_all() -> Result<(), String> {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "NVCC_CCBIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let nvcc = find_nvcc()?;
    println!("cargo::rustc-env=TAPER_CUDA_TOOLKIT={}", version(&nvcc)?);
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "native".to_owned());
    println!("cargo::rustc-env=TAPER_CUDA_COMPUTE_CAP={capability}");
    let output = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut sources = Vec::new();
    find_sources(Path::new("src"), &mut sources)?;
    sources.sort();
    let mut compiles = Vec::new();
    for source in &sources {
        let name = source.file_stem().unwrap_or_default().to_string_lossy();
        let ptx = output.join(format!("{name}.ptx"));
        compiles.push((name.into_owned(), ptx.clone(), source.clone()));
    }
    for parallel in compiles.chunks(jobs()) {
        let mut running = Vec::new();
        for (_, ptx, source) in parallel {
            running.push((source, compile(&nvcc, source, ptx)?));
        }
        for (source, child) in running {
            let output = child
                .wait_with_output()
                .map_err(|error| error.to_string())?;
            if !output.status.success() {
                let (out, err) = (
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr),
                );
                return Err(format!(
                    "{} does not compile {}:\n{out}{err}",
                    nvcc.display(),
                    source.display()
                ));
            }
        }
    }
    let mut table = String::from("&[\n");
    for (name, ptx, _) in &compiles {
        let _ = writeln!(table, "    ({name:?}, include_str!({ptx:?})),");
    }
    table.push(']');
    fs::write(output.join("ptx.rs"), table).map_err(|error| error.to_string())
}

/// The toolkit's version, from `…, release 13.0, V13.0.88`.
fn version(nvcc: &Path) -> Result<String, String> {
    let output = Command::new(nvcc).arg("--version").output();
    let output = output.map_err(|error| format!("{}: {error}", nvcc.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let release = text
        .split("release ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    release
        .map(|release| release.trim().to_owned())
        .ok_or_else(|| format!("{} --version names no release: {text}", nvcc.display()))
}

/// How many compilers run at once: as many as cargo has jobs.
fn jobs() -> usize {
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    jobs.unwrap_or(1).max(1)
}

fn compile(nvcc: &Path, source: &Path, ptx: &Path) -> Result<std::process::Child, String> {
    let mut command = Command::new(nvcc);
    command.args([
        "-ptx",
        "-arch=compute_80",
        "-O3",
        "-std=c++17",
        "-I",
        "src/cuda",
    ]);
    if let Some(compiler) = env::var_os("NVCC_CCBIN") {
        command.arg("-ccbin").arg(compiler);
    }
    command.arg("-o").arg(ptx).arg(source);
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    command
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", nvcc.display()))
}

fn find_sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            find_sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "cu") {
            found.push(path);
        }
    }
    Ok(())
}

fn find_nvcc() -> Result<PathBuf, String> {
    if let Some(nvcc) = env::var_os("NVCC") {
        return Ok(PathBuf::from(nvcc));
    }
    let mut folders = Vec::new();
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        folders.extend(env::var_os(variable).map(|home| PathBuf::from(home).join("bin")));
    }
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders.push(PathBuf::from("/usr/local/cuda/bin"));
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let found = folders
        .iter()
        .map(|folder| folder.join(&program))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        "the feature `cuda` needs nvcc of a CUDA 12 or 13 toolkit: not found as $NVCC, in \
         $CUDA_HOME/bin, in $CUDA_PATH/bin, on PATH, or in /usr/local/cuda/bin. Install a toolkit, \
         or the Python wheels that docs/src/kernels-cuda.md names, or build without the feature."
            .to_owned()
    })
}
