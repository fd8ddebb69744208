//! Writes the stubs, and empty libraries for the linker to find where there is no CUDA.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "src/stubs.rs"]
mod stubs;

/// What `cudarc` and `candle-kernels` ask the linker for.
const LIBRARIES: [&str; 6] = ["cuda", "cublas", "cublasLt", "curand", "nvrtc", "cudart"];

fn main() {
    for path in ["build.rs", "symbols.txt", "src/stubs.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-check-cfg=cfg(stubs)");
    if let Err(message) = write() {
        println!("cargo::error={message}");
    }
}

fn write() -> Result<(), String> {
    let output = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let list =
        fs::read_to_string("symbols.txt").map_err(|error| format!("symbols.txt: {error}"))?;
    let names = stubs::symbols(&list);
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    // Elsewhere the program is linked with the libraries as cudarc asks.
    let text = match target("OS").as_str() {
        "linux" => stubs::assembly(&target("ARCH"), &names),
        _ => None,
    };
    let Some(text) = text else { return Ok(()) };
    let write = |path: &Path, text: &[u8]| {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write(&output.join("stubs.s"), text.as_bytes())?;
    let quoted: Vec<String> = names.iter().map(|name| format!("c{name:?}")).collect();
    write(
        &output.join("names.rs"),
        format!("[{}]", quoted.join(", ")).as_bytes(),
    )?;
    println!("cargo::rustc-env=TAPER_SYMBOLS={}", names.len());
    println!("cargo::rustc-cfg=stubs");
    let folder = output.join("empty");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for library in LIBRARIES {
        write(&folder.join(format!("lib{library}.a")), b"!<arch>\n")?;
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        println!("cargo::rustc-link-search=native={}", folder.display());
        for variable in ["CUDA_HOME", "CUDA_PATH"] {
            println!("cargo::rerun-if-env-changed={variable}");
            if let Some(home) = env::var_os(variable) {
                for library in ["lib64", "lib"] {
                    let folder = Path::new(&home).join(library);
                    println!("cargo::rustc-link-search=native={}", folder.display());
                }
            }
        }
        println!("cargo::rustc-link-search=native=/usr/local/cuda/lib64");
        // candle-kernels has machine code that registers itself with the runtime at start-up.
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle=cudart_static");
        for library in ["dl", "rt", "pthread"] {
            println!("cargo::rustc-link-lib={library}");
        }
    }
    Ok(())
}
