//! Calls through the stubs, with and without a library.
//!
//! The libraries are found when the process starts, so the test that needs one runs this
//! program again with a search path to a library that it has just built.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
// Clippy exempts test functions, but not the helpers they share.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::ffi::{CStr, c_char, c_int};
use std::process::Command;

/// Seven arguments more than come in registers, of both kinds.
#[rustfmt::skip]
type Many = unsafe extern "C" fn(
    i64, f64, i64, f64, i64, f64, i64, f64, i64, f64, i64, f64, i64, f64, i64, f64, i64, f64, i64, f64,
) -> f64;

unsafe extern "C" {
    fn cuInit(flags: u32) -> c_int;
    fn cublasCreate_v2(handle: *mut *mut u8) -> c_int;
    fn cublasLtCreate(handle: *mut *mut u8) -> c_int;
    fn curandCreateGenerator(generator: *mut *mut u8, kind: c_int) -> c_int;
    fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int;
    fn nvrtcGetErrorString(error: c_int) -> *const c_char;
    // What the library built below has under this name.
    fn curandGenerateNormalDouble();
}

/// This crate's stubs must be in the program.
fn late_binding() {
    let _ = taper_late_binding::driver_present();
}

#[test]
fn without_libraries_each_call_returns_an_error_of_its_own() {
    late_binding();
    if taper_late_binding::libraries()
        .iter()
        .any(|(_, present)| *present)
    {
        eprintln!("skipped: this machine has CUDA libraries");
        return;
    }
    let mut handle = std::ptr::null_mut();
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the signatures are CUDA's, the pointers are valid.
    unsafe {
        assert_eq!(cuInit(0), 100);
        assert_eq!(cuInit(0), 100); // through the slot
        assert_eq!(cublasCreate_v2(&mut handle), 1);
        assert_eq!(cublasLtCreate(&mut handle), 1);
        assert_eq!(curandCreateGenerator(&mut handle, 100), 203);
        assert_eq!(nvrtcVersion(&mut major, &mut minor), 11);
        assert!(!CStr::from_ptr(nvrtcGetErrorString(1)).is_empty());
    }
    assert!(!taper_late_binding::driver_present());
}

const LIBRARY: &str = "
double curandGenerateNormalDouble(long a, double b, long c, double d, long e, double f, long g, double h, long i,
                                  double j, long k, double l, long m, double n, long o, double p, long q, double r,
                                  long s, double t) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l + 13 * m +
           14 * n + 15 * o + 16 * p + 17 * q + 18 * r + 19 * s + 20 * t;
}
";

#[test]
fn arguments_of_every_kind_reach_the_library() {
    late_binding();
    const AGAIN: &str = "TAPER_LATE_BINDING_TEST";
    if std::env::var_os(AGAIN).is_some() {
        call_with_many_arguments();
        return;
    }
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no C compiler to build a library with");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("library.c");
    std::fs::write(&source, LIBRARY).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.path().join("libcurand.so.10"))
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "arguments_of_every_kind_reach_the_library"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env(AGAIN, "1")
        .status();
    assert!(status.unwrap().success());
}

fn call_with_many_arguments() {
    let found = taper_late_binding::libraries();
    assert!(found.contains(&("libcurand", true)), "{found:?}");
    let expected: f64 = (1..=20).map(|index| f64::from(index * index * 3)).sum();
    // SAFETY: the library above defines the function with this type.
    unsafe {
        let function: Many = std::mem::transmute(curandGenerateNormalDouble as *const ());
        for _ in 0..2 {
            #[rustfmt::skip]
            let sum = function(
                3, 6.0, 9, 12.0, 15, 18.0, 21, 24.0, 27, 30.0, 33, 36.0, 39, 42.0, 45, 48.0, 51, 54.0, 57, 60.0,
            );
            assert_eq!(sum, expected);
        }
        // A function that the library does not have.
        let mut generator = std::ptr::null_mut();
        assert_eq!(curandCreateGenerator(&mut generator, 100), 203);
    }
}
