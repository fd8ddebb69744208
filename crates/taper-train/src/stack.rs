//! A thread with room for Candle's backward pass, which calls itself once an operator.

use crate::error::{Result, TrainError};

/// Stack of the training thread, in bytes. Only touched pages take memory.
pub const TRAINING_STACK: usize = 256 << 20;

/// Runs `work` on a thread with a stack of [`TRAINING_STACK`] bytes and waits for it.
///
/// Call it around [`train`](crate::train): deep networks overflow the usual stack in `backward`.
///
/// # Errors
/// [`TrainError::Thread`] if the thread cannot be started. A panic of `work` goes on in the caller.
pub fn run_on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("training".into())
            .stack_size(TRAINING_STACK)
            .spawn_scoped(scope, work)
            .map_err(|source| TrainError::Thread {
                bytes: TRAINING_STACK,
                source,
            })?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor, Var};

    /// A chain that overflows the 2 MiB of a test thread.
    #[test]
    fn deep_backward() {
        let gradient = run_on_big_stack(|| -> candle_core::Result<f32> {
            let x = Var::zeros((), DType::F32, &Device::Cpu)?;
            let mut y = x.as_tensor().clone();
            for _ in 0..100_000 {
                y = (y + 1.0)?;
            }
            let gradients = y.backward()?;
            // The graph is dropped here, on the big stack too: its drop also calls itself.
            gradients.get(&x).map_or(Ok(f32::NAN), Tensor::to_scalar)
        });
        assert_eq!(gradient.unwrap().unwrap(), 1.0);
    }
}
