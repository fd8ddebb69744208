//! Benchmarks with peers beside them.
//!
//! `cargo bench -p taper-benches` times the operators; `pytorch/compare.py` times whole training
//! steps in alternation with PyTorch on the same machine.
