//! CUDA, as this program was compiled for it and as this machine has it.

use candle_core::{Device, Result};

/// What a program and its machine know of CUDA.
#[derive(Clone, Debug, Default)]
pub struct CudaReport {
    /// What the program was compiled for; `None` without the feature `cuda`.
    pub compiled: Option<CompiledFor>,
    /// The CUDA version of the installed driver, as (major, minor); `None` if there is no driver.
    pub driver: Option<(i32, i32)>,
    /// CUDA's libraries and whether each was found when asked for.
    pub libraries: Vec<(&'static str, bool)>,
    /// The GPUs.
    pub devices: Vec<CudaGpu>,
}

/// The toolkit and the compute capability a program was compiled for.
#[derive(Clone, Debug)]
pub struct CompiledFor {
    /// Version of the toolkit, as its compiler says.
    pub toolkit: &'static str,
    /// Least compute capability of Taper's kernels.
    pub kernels: &'static str,
    /// `CUDA_COMPUTE_CAP` of Candle's kernels.
    pub candle: &'static str,
}

/// A GPU.
#[derive(Clone, Debug)]
pub struct CudaGpu {
    /// Its name.
    pub name: String,
    /// Its compute capability, (major, minor).
    pub compute_capability: (i32, i32),
}

/// Looks for the driver, the libraries and the GPUs. Without the feature `cuda`: an empty report.
#[must_use]
pub fn cuda_report() -> CudaReport {
    #[cfg(feature = "cuda")]
    return found::report();
    #[cfg(not(feature = "cuda"))]
    CudaReport::default()
}

/// GPU number `index`, or, where the program has CUDA but the machine no driver, the CPU and a
/// sentence that says so.
///
/// # Errors
/// If the program was compiled without CUDA, or there is a driver but no such GPU.
pub fn cuda_or_cpu(index: usize) -> Result<(Device, Option<String>)> {
    #[cfg(feature = "cuda")]
    if !taper_late_binding::driver_present() {
        let note = "there is no CUDA driver on this machine (libcuda.so.1): computing on the CPU";
        return Ok((Device::Cpu, Some(note.to_owned())));
    }
    Ok((Device::new_cuda(index)?, None))
}

#[cfg(feature = "cuda")]
mod found {
    use super::{CompiledFor, CudaGpu, CudaReport};
    use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};

    pub(super) fn report() -> CudaReport {
        let compiled = CompiledFor {
            toolkit: env!("TAPER_CUDA_TOOLKIT"),
            kernels: "8.0",
            candle: env!("TAPER_CUDA_COMPUTE_CAP"),
        };
        let present = taper_late_binding::driver_present();
        CudaReport {
            compiled: Some(compiled),
            driver: present.then(driver_version).flatten(),
            libraries: taper_late_binding::libraries(),
            devices: match present {
                true => devices().unwrap_or_default(),
                false => Vec::new(),
            },
        }
    }

    fn driver_version() -> Option<(i32, i32)> {
        let mut version = 0;
        // SAFETY: the pointer is that of a number of the type that the driver writes.
        let status = unsafe { sys::cuDriverGetVersion(&mut version) };
        (status == sys::CUresult::CUDA_SUCCESS).then_some((version / 1000, version % 1000 / 10))
    }

    fn devices() -> Result<Vec<CudaGpu>, DriverError> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        result::init()?;
        (0..result::device::get_count()?)
            .map(|index| {
                let device = result::device::get(index)?;
                // SAFETY: the handle is that of a device the driver just named.
                let attribute = |which| unsafe { result::device::get_attribute(device, which) };
                Ok(CudaGpu {
                    name: result::device::get_name(device)?,
                    compute_capability: (attribute(MAJOR)?, attribute(MINOR)?),
                })
            })
            .collect()
    }
}
