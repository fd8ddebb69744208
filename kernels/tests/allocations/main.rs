//! No operator allocates more than its results and the workspace that its documentation states.
//!
//! A counting allocator tells how much more than before is held at the worst moment of a call. One thread: workspace
//! that is stated for each thread counts once.
// What was measured is shown where a test fails.
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod catch_up;
mod convolutions;
mod diffusion;
mod elementwise;
mod indexing;
mod losses;
mod optimisers;
mod pooling;
mod rows;

use candle_core::{DType, Result, Tensor, Var};
use taper_kernels::memory::{self, Counting};
use taper_kernels::testing::uniform;
use taper_kernels::threads;

#[global_allocator]
static ALLOCATOR: Counting<std::alloc::System> = Counting(std::alloc::System);

/// Shapes, strides, lists of tasks, sums of channels.
const SMALL: usize = 8 << 10;
/// Buffers of one thread in a direct or depthwise convolution.
const TILE: usize = 1 << 20;

fn single(index: u64, dims: &[usize]) -> Tensor {
    let tensor = uniform("allocations", index, dims, -1.0, 1.0);
    tensor
        .and_then(|tensor| tensor.to_dtype(DType::F32))
        .unwrap()
}

fn learned(index: u64, dims: &[usize]) -> Tensor {
    let var = Var::from_tensor(&single(index, dims)).unwrap();
    var.as_tensor().clone()
}

fn bytes(tensor: &Tensor) -> usize {
    4 * tensor.elem_count()
}

/// What was found of each call.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// Holds the call to its results' bytes and its workspace.
    fn call<R>(
        &mut self,
        name: &str,
        results: usize,
        workspace: usize,
        call: impl Fn() -> Result<R>,
    ) {
        // What a process sets up once is not the operator's.
        drop(call().unwrap());
        memory::release_workspace();
        memory::reset_peak();
        let before = memory::live_bytes();
        let result = call().unwrap();
        let most = memory::peak_bytes() - before;
        drop(result);
        let allowed = results + workspace + SMALL;
        println!("{name}: {most} bytes of {allowed} allowed, results {results}");
        if most > allowed {
            self.0.push(format!(
                "{name}: {most} bytes, allowed {results} + {workspace} + {SMALL}"
            ));
        }
    }

    /// The gradients of all `arguments` from a gradient of ones. Candle's tape makes that gradient, and for the one being
    /// added up zeros and a sum.
    fn backward(&mut self, name: &str, result: &Tensor, arguments: &[&Tensor], workspace: usize) {
        let gradients: usize = arguments.iter().map(|tensor| bytes(tensor)).sum();
        let largest = arguments
            .iter()
            .map(|tensor| bytes(tensor))
            .max()
            .unwrap_or(0);
        let tape = bytes(result) + 2 * largest + 2 * SMALL;
        let name = format!("{name} backward");
        self.call(&name, gradients, tape + workspace, || result.backward());
    }
}

#[test]
fn operators_keep_to_their_results_and_stated_workspace() -> Result<()> {
    threads::set_threads(1);
    let mut findings = Findings::default();
    elementwise::elementwise_and_norms(&mut findings)?;
    pooling::pooling_and_resizing(&mut findings)?;
    losses::losses(&mut findings)?;
    catch_up::catch_up(&mut findings)?;
    optimisers::optimisers(&mut findings)?;
    convolutions::convolutions(&mut findings)?;
    convolutions::fused_convolutions(&mut findings)?;
    convolutions::runs(&mut findings)?;
    diffusion::diffusion(&mut findings)?;
    rows::rows(&mut findings)?;
    indexing::indexing(&mut findings)?;
    assert!(findings.0.is_empty(), "{}", findings.0.join("\n"));
    Ok(())
}

const IMAGES: [usize; 4] = [16, 32, 32, 32];
