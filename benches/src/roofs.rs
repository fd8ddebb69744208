//! What the machine does at best: copied bytes and multiply-adds a second.

use crate::case::{Mode, Work};
use crate::clock::{Quantiles, burst, time};
use crate::row::{Machine, Row};
use candle_core::{DType, Device, Result, Tensor};
use std::time::Duration;
use taper_kernels::machine;

/// Floats copied to measure the memory: 64 MiB, beyond the caches that a core has for itself.
const COPIED: usize = 16 << 20;
/// Rounds of [`machine::multiply_add`]: about a millisecond.
const ROUNDS: usize = 20_000;
/// Side of the square matrices whose product measures a GPU's multiply-adds.
const SIDE: usize = 4096;
/// How long each is measured.
const BUDGET: Duration = Duration::from_millis(400);

/// The bounds of every operator on this machine, measured at the thread count in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofs {
    /// Bytes a second of a large copy, reads and writes counted.
    pub bytes: f64,
    /// Floating-point operations a second, a multiply-add counted as two.
    pub flops: f64,
}

impl Roofs {
    /// The least seconds in which `work` can be done, and whether the memory is what bounds it.
    pub fn least_seconds(&self, work: Work) -> (f64, bool) {
        let (memory, compute) = (work.bytes / self.bytes, work.flops / self.flops);
        (memory.max(compute), memory >= compute)
    }

    /// Measures both; the rows say how. A roof is by the fastest call: what the machine does when left alone.
    ///
    /// # Errors
    /// If the device fails.
    pub fn measure(machine_in_use: &Machine, device: &Device) -> Result<(Self, Vec<Row>)> {
        let copied = Work::passes(COPIED, 2, 0);
        let (multiplied, copies, products) = match device {
            Device::Cpu => {
                let flops = machine::multiply_add(ROUNDS);
                (flops, copies_on_cpu()?, multiply_adds_on_cpu()?)
            }
            _ => {
                let flops = 2.0 * (SIDE as f64).powi(3);
                (flops, copies_on(device)?, products_on(device)?)
            }
        };
        let roofs = Self {
            bytes: copied.bytes / copies.least,
            flops: multiplied / products.least,
        };
        let multiplied = Work {
            bytes: 0.0,
            flops: multiplied,
        };
        let row = |kernel, size: String, work, times| {
            machine_in_use.row(kernel, Mode::Forward, size, work, times, &roofs)
        };
        let rows = vec![
            row("copy", format!("{} MiB", COPIED >> 18), copied, copies),
            row("multiply_add", "registers".into(), multiplied, products),
        ];
        Ok((roofs, rows))
    }
}

fn copies_on_cpu() -> Result<Quantiles> {
    let (from, mut to) = (vec![1f32; COPIED], vec![0f32; COPIED]);
    measured(|| {
        let copy = || {
            machine::copy(&from, &mut to);
            Ok(())
        };
        Ok(time(&Device::Cpu, copy)?.1)
    })
}

fn multiply_adds_on_cpu() -> Result<Quantiles> {
    measured(|| Ok(time(&Device::Cpu, || Ok(machine::multiply_add(ROUNDS)))?.1))
}

fn copies_on(device: &Device) -> Result<Quantiles> {
    let from = Tensor::ones(COPIED, DType::F32, device)?;
    measured(|| Ok(time(device, || from.copy())?.1))
}

fn products_on(device: &Device) -> Result<Quantiles> {
    let matrix = Tensor::ones((SIDE, SIDE), DType::F32, device)?;
    measured(|| Ok(time(device, || matrix.matmul(&matrix))?.1))
}

fn measured(call: impl FnMut() -> Result<Duration>) -> Result<Quantiles> {
    Quantiles::of(burst(BUDGET, call)?)
        .ok_or_else(|| candle_core::Error::Msg("nothing was measured".into()))
}

#[cfg(test)]
mod tests {
    use super::Roofs;
    use crate::case::Work;

    #[test]
    fn the_slower_of_memory_and_arithmetic_bounds() {
        let roofs = Roofs {
            bytes: 10.0,
            flops: 100.0,
        };
        let work = |bytes, flops| Work { bytes, flops };
        assert_eq!(roofs.least_seconds(work(20.0, 100.0)), (2.0, true));
        assert_eq!(roofs.least_seconds(work(20.0, 500.0)), (5.0, false));
    }
}
