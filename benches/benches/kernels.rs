//! `cargo bench`: every case of the operators' table by Criterion, without peers.

#![allow(clippy::expect_used, reason = "a benchmark has nobody to report to")]

use candle_core::{DType, Device};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use taper_benches::{Case, Mode, cases};

/// As the program: pages are kept, or the measured time is the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Forward of plain arguments, and forward with backward of tracked ones.
fn time(criterion: &mut Criterion, case: &Case, mode: Mode) {
    let tracked = mode == Mode::ForwardBackward;
    let mut group = criterion.benchmark_group(format!("{} {}", case.kernel, mode.name()));
    group.throughput(Throughput::Bytes(case.work(mode).bytes as u64));
    group.bench_function(&case.size, |bencher| {
        // Made only where a filter has not left the case out.
        let arguments = case
            .arguments(DType::F32, &Device::Cpu, tracked)
            .expect("arguments");
        bencher.iter(|| {
            let result = (case.call)(&arguments).expect("forward");
            tracked.then(|| black_box(&result).backward().expect("backward"))
        });
    });
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    for case in cases() {
        for mode in [Mode::Forward, Mode::ForwardBackward] {
            if case.modes.contains(&mode) {
                time(criterion, &case, mode);
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = kernels
}
criterion_main!(benches);
