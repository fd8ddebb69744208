"""Writes functions.safetensors: activations, softmax, GLU, layer and group norm as PyTorch has them.

    python make_functions.py

Kinks, NaN and infinities first; then other dimensions than the last, missing weights and
biases, odd sizes. `operators/functions.rs` repeats the settings under the same names.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors: dict[str, torch.Tensor] = {}
inf, nan = float("inf"), float("nan")


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


edges = torch.tensor([-inf, -1e30, -100, -20.5, -6, -3, -1, -0.625, -1e-3, -0.0, 0, 1e-20, 0.3, 1, 3, 6, 20.5, 100, 1e30, inf, nan])
x = torch.cat([edges, torch.randn(40) * 4])
for name, function in {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "relu6": F.relu6,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}.items():
    # Of gelu at infinity, PyTorch's vectors make NaN, its single numbers and its doubles infinity.
    record(name, lambda x: function(x), x=x[x != inf] if name == "gelu" else x)

for dim in range(3):
    x = torch.randn(4, 6, 10) * 5
    record(f"softmax/{dim}", lambda x: F.softmax(x, dim), x=x)
    record(f"log_softmax/{dim}", lambda x: F.log_softmax(x, dim), x=x)
    record(f"glu/{dim}", lambda x: F.glu(x, dim), x=x)
rows = torch.randn(6, 35)
rows[0, 3], rows[1, :], rows[2, 33], rows[3, :] = nan, -inf, -inf, inf
rows[4, 5], rows[4, 34] = inf, nan
for dim in (0, 1):
    record(f"softmax/special{dim}", lambda x: F.softmax(x, dim), x=rows.T if dim == 0 else rows)
    record(f"log_softmax/special{dim}", lambda x: F.log_softmax(x, dim), x=rows.T if dim == 0 else rows)

x = torch.randn(3, 5, 7) * 2 + 1
record("layer_norm/last", lambda x, weight, bias: F.layer_norm(x, (7,), weight, bias, 1e-5), x=x, weight=torch.randn(7), bias=torch.randn(7))
record("layer_norm/two", lambda x, weight, bias: F.layer_norm(x, (5, 7), weight, bias, 1e-3), x=x, weight=torch.randn(5, 7), bias=torch.randn(5, 7))
record("layer_norm/no_bias", lambda x, weight: F.layer_norm(x, (7,), weight, None, 1e-5), x=x, weight=torch.randn(7))
record("layer_norm/plain", lambda x: F.layer_norm(x, (7,)), x=x)
special = torch.randn(4, 40)
special[0, 2], special[1, 39] = nan, inf
special[2] = 3.0
record("layer_norm/special", lambda x, weight, bias: F.layer_norm(x, (40,), weight, bias), x=special, weight=torch.randn(40), bias=torch.randn(40))

x = torch.randn(2, 6, 3, 5) * 2 + 1
weight, bias = torch.randn(6), torch.randn(6)
for groups in (1, 2, 3, 6):
    record(f"group_norm/{groups}", lambda x, weight, bias: F.group_norm(x, groups, weight, bias, 1e-5), x=x, weight=weight, bias=bias)
    record(f"group_norm_silu/{groups}", lambda x, weight, bias: F.silu(F.group_norm(x, groups, weight, bias, 1e-5)), x=x, weight=weight, bias=bias)
record("group_norm/plain", lambda x: F.group_norm(x, 2), x=x)

save_file(tensors, Path(__file__).parent / "functions.safetensors")
