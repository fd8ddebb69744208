//! Reading and writing checkpoints
