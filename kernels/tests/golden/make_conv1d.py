"""Writes conv1d.safetensors: PyTorch's 1-D convolutions, plain and transposed, with their gradients.

    python make_conv1d.py

`operators/conv1d.rs` repeats the settings under the same names.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors: dict[str, torch.Tensor] = {}


def record(name: str, function, **inputs: torch.Tensor) -> None:
    """Inputs, result, a random gradient of the result and the gradients of the inputs."""
    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    result = function(**leaves)
    upstream = torch.randn_like(result)
    result.backward(upstream)
    entries = {"result": result.detach(), "upstream": upstream}
    for key, leaf in leaves.items():
        entries[key] = leaf.detach()
        entries[f"{key}.grad"] = leaf.grad
    for key, value in entries.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()


# Batch, channels in and out, length, kernel, stride, padding, dilation, groups.
for name, b, c, k, length, kernel, stride, padding, dilation, groups in [
    ("plain", 2, 3, 5, 17, 4, 1, 0, 1, 1),
    ("strided", 2, 4, 6, 33, 5, 3, 2, 1, 2),
    ("dilated", 1, 4, 2, 20, 3, 2, 3, 4, 1),
    ("depthwise", 2, 6, 6, 40, 9, 1, 4, 1, 6),
    ("multiplier", 2, 3, 6, 19, 3, 2, 1, 1, 3),
    ("same_even", 1, 2, 3, 11, 4, 1, "same", 3, 1),
]:
    record(
        f"conv1d/{name}",
        lambda x, weight, bias: F.conv1d(x, weight, bias, stride, padding, dilation, groups),
        x=torch.randn(b, c, length),
        weight=torch.randn(k, c // groups, kernel),
        bias=torch.randn(k),
    )

# The same with output_padding before dilation.
for name, b, c, k, length, kernel, stride, padding, output_padding, dilation, groups in [
    ("plain", 2, 3, 5, 7, 4, 1, 0, 0, 1, 1),
    ("strided", 2, 4, 6, 9, 5, 2, 2, 1, 1, 2),
    ("dilated", 1, 4, 2, 8, 3, 2, 1, 3, 4, 1),
    ("depthwise", 2, 6, 6, 13, 9, 3, 4, 2, 1, 6),
    ("cut", 1, 2, 3, 6, 2, 4, 2, 0, 1, 1),
]:
    record(
        f"conv_transpose1d/{name}",
        lambda x, weight, bias: F.conv_transpose1d(x, weight, bias, stride, padding, output_padding, groups, dilation),
        x=torch.randn(b, c, length),
        weight=torch.randn(c, k // groups, kernel),
        bias=torch.randn(k),
    )

save_file(tensors, Path(__file__).parent / "conv1d.safetensors")
