//! Layers on Taper's kernels under PyTorch's parameter names, and the ordered, seeded store of their parameters
