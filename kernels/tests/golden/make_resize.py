"""Writes resize.safetensors: PyTorch's interpolate, bilinear and nearest, with its gradients.

    python make_resize.py

`operators/resize.rs` repeats the settings under the same names. "special" has NaN and infinities.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors: dict[str, torch.Tensor] = {}


def record(name: str, function, x: torch.Tensor) -> None:
    """Input, result, a random gradient of the result and the gradient of the input."""
    leaf = x.clone().requires_grad_()
    result = function(leaf)
    upstream = torch.randn_like(result)
    result.backward(upstream)
    for key, value in {"x": x, "result": result.detach(), "upstream": upstream, "x.grad": leaf.grad}.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()


SIZES = [(1, 1), (1, 5), (7, 9), (14, 18), (14, 9), (21, 27), (4, 4), (3, 13), (16, 2), (8, 31)]
plain = torch.randn(2, 2, 7, 9)
special = torch.randn(1, 2, 7, 9)
special[0, 0, 2, 3] = float("nan")
special[0, 1, 4, 4] = float("inf")
special[0, 1, 6, 8] = float("-inf")
for rows, columns in SIZES:
    for label, x in (("plain", plain), ("special", special)):
        name = f"{rows}x{columns}/{label}"
        for align in (False, True):
            record(f"bilinear{int(align)}/{name}", lambda x: F.interpolate(x, (rows, columns), mode="bilinear", align_corners=align), x)
        record(f"nearest/{name}", lambda x: F.interpolate(x, (rows, columns), mode="nearest"), x)

# Which element is the nearest depends on the last bit of a product: every pair of lengths up to 80.
for length in range(1, 81):
    line = torch.arange(length, dtype=torch.float32).reshape(1, 1, length)
    results = [F.interpolate(line, size, mode="nearest").flatten() for size in range(1, 81)]
    tensors[f"nearest1d/{length}"] = torch.cat(results).to(torch.uint8)

save_file(tensors, Path(__file__).parent / "resize.safetensors")
