//! The Rust home of small neural networks
