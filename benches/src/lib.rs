//! Benchmarks with peers beside them
