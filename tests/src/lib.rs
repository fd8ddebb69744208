//! Parity with PyTorch, end-to-end and command-line tests
