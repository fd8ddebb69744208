//! From a stub to the function it stands for.

use std::arch::global_asm;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(target_arch = "x86_64")]
global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/stubs.s")),
    options(att_syntax)
);
#[cfg(not(target_arch = "x86_64"))]
global_asm!(include_str!(concat!(env!("OUT_DIR"), "/stubs.s")));

const COUNT: usize = count(env!("TAPER_SYMBOLS"));
/// The name of each stub.
static NAMES: [&CStr; COUNT] = include!(concat!(env!("OUT_DIR"), "/names.rs"));

/// The number that the build script wrote.
const fn count(digits: &str) -> usize {
    let (digits, mut value, mut index) = (digits.as_bytes(), 0, 0);
    while index < digits.len() {
        value = value * 10 + (digits[index] - b'0') as usize;
        index += 1;
    }
    value
}

unsafe extern "C" {
    /// Where each stub jumps to. Defined by the stubs.
    static taper_late_binding_slots: [AtomicPtr<c_void>; COUNT];

    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;

/// A library of CUDA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Driver,
    Cublas,
    CublasLt,
    Curand,
    Nvrtc,
}

pub(crate) const LIBRARIES: [Library; 5] = [
    Library::Driver,
    Library::Cublas,
    Library::CublasLt,
    Library::Curand,
    Library::Nvrtc,
];

impl Library {
    /// The library that a function belongs to, by its name.
    fn of(function: &[u8]) -> Self {
        let starts = |prefix: &str| function.starts_with(prefix.as_bytes());
        match () {
            () if starts("cublasLt") => Self::CublasLt,
            () if starts("cublas") => Self::Cublas,
            () if starts("curand") => Self::Curand,
            () if starts("nvrtc") => Self::Nvrtc,
            () => Self::Driver,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Driver => "libcuda",
            Self::Cublas => "libcublas",
            Self::CublasLt => "libcublasLt",
            Self::Curand => "libcurand",
            Self::Nvrtc => "libnvrtc",
        }
    }

    /// The names it is installed under, newest first.
    fn files(self) -> &'static [&'static CStr] {
        match self {
            Self::Driver => &[c"libcuda.so.1", c"libcuda.so"],
            Self::Cublas => &[c"libcublas.so.13", c"libcublas.so.12"],
            Self::CublasLt => &[c"libcublasLt.so.13", c"libcublasLt.so.12"],
            Self::Curand => &[c"libcurand.so.10"],
            Self::Nvrtc => &[c"libnvrtc.so.13", c"libnvrtc.so.12"],
        }
    }

    /// Its handle, or null; looked for once.
    fn handle(self) -> *mut c_void {
        static HANDLES: [OnceLock<usize>; LIBRARIES.len()] =
            [const { OnceLock::new() }; LIBRARIES.len()];
        *HANDLES[self as usize].get_or_init(|| {
            let open = |file: &&CStr| {
                // SAFETY: the name ends with a zero byte; opening runs the library's own
                // initialisation, which is what linking with it would have done at start-up.
                unsafe { dlopen(file.as_ptr(), RTLD_NOW | RTLD_GLOBAL) }
            };
            let mut handles = self.files().iter().map(open);
            handles
                .find(|handle| !handle.is_null())
                .map_or(0, |handle| handle as usize)
        }) as *mut c_void
    }

    /// What its functions do where the library is missing: return an error of its own.
    fn missing(self) -> extern "C" fn() -> c_int {
        match self {
            Self::Driver => cuda_error_no_device,
            Self::Cublas | Self::CublasLt => cublas_status_not_initialized,
            Self::Curand => curand_status_initialization_failed,
            Self::Nvrtc => nvrtc_error_internal,
        }
    }
}

pub(crate) fn present(library: Library) -> bool {
    !library.handle().is_null()
}

extern "C" fn cuda_error_no_device() -> c_int {
    100
}
extern "C" fn cublas_status_not_initialized() -> c_int {
    1
}
extern "C" fn curand_status_initialization_failed() -> c_int {
    203
}
extern "C" fn nvrtc_error_internal() -> c_int {
    11
}
extern "C" fn missing_text() -> *const c_char {
    c"the CUDA library is missing".as_ptr()
}
extern "C" fn version_zero() -> usize {
    0
}

/// The functions that return no error but a text or a number.
fn missing_function(name: &[u8], library: Library) -> *mut c_void {
    match name {
        b"nvrtcGetErrorString"
        | b"cublasGetStatusName"
        | b"cublasGetStatusString"
        | b"cublasLtGetStatusName"
        | b"cublasLtGetStatusString" => missing_text as *mut c_void,
        b"cublasLtGetVersion" | b"cublasLtGetCudartVersion" | b"cublasGetCudartVersion" => {
            version_zero as *mut c_void
        }
        _ => library.missing() as *mut c_void,
    }
}

/// The function that stub `index` stands for; called by the stubs.
#[unsafe(no_mangle)]
extern "C" fn taper_late_binding_resolve(index: usize) -> *mut c_void {
    let name = NAMES[index];
    let library = Library::of(name.to_bytes());
    let handle = library.handle();
    let mut function = std::ptr::null_mut();
    if !handle.is_null() {
        // SAFETY: the handle is that of an open library, the name ends with a zero byte.
        function = unsafe { dlsym(handle, name.as_ptr()) };
    }
    if function.is_null() {
        function = missing_function(name.to_bytes(), library);
    }
    // SAFETY: the stubs define one slot for each name, in the order of the names, aligned to
    // 8 bytes; everybody who writes a slot writes the same address.
    let slot = unsafe { &taper_late_binding_slots[index] };
    slot.store(function, Ordering::Relaxed);
    function
}
