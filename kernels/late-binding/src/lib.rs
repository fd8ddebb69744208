//! CUDA's libraries, opened when one of their functions is first called.
//!
//! Candle links the CUDA driver, cuBLAS, cuRAND and NVRTC, so a program built for CUDA does not
//! start where one of them is missing. Linked with this crate it does: every CUDA function that
//! Candle can call is defined here as a stub, which on its first call opens the library
//! (`libcuda.so.1`, `libcublas.so.13`, …, by the system's search path and `LD_LIBRARY_PATH`),
//! looks the function up, and jumps to it; later calls cost one jump. Where the library is
//! missing the function returns that library's own error, and for the driver that is
//! `CUDA_ERROR_NO_DEVICE`: Candle's `Device::new_cuda` then fails as on a machine with no GPU.
//!
//! On Linux, x86-64 and aarch64. On other systems there are no stubs.

#[cfg(stubs)]
mod resolve;

/// Whether the CUDA driver's library is there. Where this crate has no stubs: no.
#[must_use]
pub fn driver_present() -> bool {
    #[cfg(stubs)]
    return resolve::present(resolve::Library::Driver);
    #[cfg(not(stubs))]
    false
}

/// The libraries that calls go to, and whether each is there: driver, cuBLAS, cuBLASLt, cuRAND, NVRTC.
#[must_use]
pub fn libraries() -> Vec<(&'static str, bool)> {
    #[cfg(stubs)]
    return resolve::LIBRARIES
        .iter()
        .map(|&library| (library.name(), resolve::present(library)))
        .collect();
    #[cfg(not(stubs))]
    Vec::new()
}
