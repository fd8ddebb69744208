//! Vectors of f32 for hand-written kernels: one trait, one type an instruction set.
//!
//! A kernel is a struct with its arguments and an `#[inline(always)]` method generic over
//! [`Simd`]; [`Simd::call`] compiles it into a function of its own with the instruction
//! set switched on, and [`Level`] picks the set at run time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
pub(crate) mod product;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Channels of a block: one 512-bit vector, two of 256 bits, four of 128.
pub(crate) const BLOCK: usize = 16;

/// Pixels of a block of channels each, one after the other.
pub(crate) const IN_ORDER: [u32; BLOCK] = {
    let mut offsets = [0; BLOCK];
    let mut pixel = 0;
    while pixel < BLOCK {
        offsets[pixel] = (pixel * BLOCK) as u32;
        pixel += 1;
    }
    offsets
};

/// Code that is written once for all instruction sets.
pub(crate) trait Kernel {
    /// Runs with the vectors `S`. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine has the instruction set of `S`; each kernel states the rest.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set.
///
/// # Safety
/// Every method requires that the machine has the instruction set, that loads read and
/// stores write only memory that is there, and nothing else.
pub(crate) trait Simd: Copy + 'static {
    /// Floats of a vector.
    const LANES: usize;
    /// Vectors that register tiles are made for: 32, 16, or 8 where the compiler makes the vectors.
    const REGISTERS: usize;
    /// Vectors that hold one row of a matrix product's register tile, at most.
    const TILE_VECTORS: usize;
    /// A vector.
    type Vector: Copy;

    /// Runs `kernel` in a function compiled for this instruction set.
    unsafe fn call<K: Kernel>(kernel: K);
    /// All lanes zero.
    unsafe fn zero() -> Self::Vector;
    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, value: Self::Vector);
    /// The first `count` lanes from memory, zeros in the others; `count` may exceed the lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector;
    /// Every second float, `count` of them, zeros in the other lanes; reads none beyond the last.
    unsafe fn load_even(from: *const f32, count: usize) -> Self::Vector;
    /// The first `count` lanes to memory.
    unsafe fn store_first(to: *mut f32, count: usize, value: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a·b + c
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// c − a·b
    unsafe fn neg_mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `value` where `sign` is positive or NaN, 0 elsewhere.
    unsafe fn keep_positive(sign: Self::Vector, value: Self::Vector) -> Self::Vector;
    /// Channel-major to pixel-major: `columns ≤ 16` pixels of the up to 16 channels at `from + rows[channel]`,
    /// to 16 floats a pixel at `to + offsets[pixel]`; missing channels are zeros.
    unsafe fn gather_pixels(
        from: *const f32,
        rows: &[usize],
        columns: usize,
        to: *mut f32,
        offsets: *const u32,
    );
    /// Pixel-major to channel-major: the first `rows ≤ 16` channels of `columns ≤ 16` pixels to rows `stride` apart.
    unsafe fn scatter_pixels(
        from: *const f32,
        offsets: *const u32,
        to: *mut f32,
        stride: usize,
        rows: usize,
        columns: usize,
    );
}

/// A number the compiler knows nothing about.
///
/// In a loop over tiles it would else keep dozens of derived addresses, one for each plane of a
/// tile, in memory and step them all; computing them afresh is much cheaper.
#[inline(always)]
pub(crate) fn opaque(value: usize) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut value = value;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    value
}

/// Cuts pixels `begin..end` of planes at `planes`, each of `pixels`, into runs (first, count) of at most a block.
///
/// Where all planes are aligned alike, the first run is short so that the others begin on a cache line: planes
/// whose size is a power of two share cache sets, and 16 lines touched twice would push each other out.
#[inline(always)]
pub(crate) fn runs(
    planes: *const f32,
    pixels: usize,
    begin: usize,
    end: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let beyond = (planes as usize / size_of::<f32>() + begin) % BLOCK;
    let head = if pixels.is_multiple_of(BLOCK) && end - begin >= 2 * BLOCK {
        BLOCK - beyond
    } else {
        BLOCK
    };
    let mut next = begin;
    let mut length = head;
    std::iter::from_fn(move || {
        (next < end).then(|| {
            let run = (next, length.min(end - next));
            next += run.1;
            length = BLOCK;
            run
        })
    })
}

/// The instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Level {
    /// The sets of this machine, best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fma && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                levels.push(Self::Avx512);
            }
            if fma {
                levels.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        levels.push(Self::Neon);
        levels.push(Self::Portable);
        levels
    }

    /// The best set of this machine, or the one that the environment variable
    /// `TAPER_KERNELS_VECTORS` names (`avx512`, `avx2`, `neon`, `portable`) if it has that.
    pub(crate) fn best() -> Self {
        static BEST: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var("TAPER_KERNELS_VECTORS").unwrap_or_default();
            let levels = Self::available();
            let named = levels.iter().find(|level| level.name() == wanted);
            *named.unwrap_or(&levels[0])
        })
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Vectors that register tiles are made for.
    pub(crate) fn registers(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::REGISTERS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::REGISTERS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::REGISTERS,
            Self::Portable => Portable::REGISTERS,
        }
    }

    /// Floats of a vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::LANES,
            Self::Portable => Portable::LANES,
        }
    }

    /// Runs `kernel` with this set.
    ///
    /// # Safety
    /// The machine has the set, and what the kernel requires holds.
    pub(crate) unsafe fn call<K: Kernel>(self, kernel: K) {
        // SAFETY: required of the caller.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => Avx512::call(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => Avx2::call(kernel),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => Neon::call(kernel),
                Self::Portable => Portable::call(kernel),
            }
        }
    }
}
