"""Writes operators.safetensors: what PyTorch returns where conventions matter.

    python make_golden.py

Ties, NaN, infinities, padding and ceil_mode of pooling; the rectifier at 0 and
NaN; batch norm with residual; cross-entropy with label smoothing; optimiser
trajectories. `operators/golden.rs` repeats the settings under the same names.
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


# Few distinct values: most windows have ties. One image has NaN and infinities.
tied = torch.randint(-2, 3, (2, 3, 7, 9)).float()
special = torch.randn(1, 2, 7, 9)
special[0, 0, 2, 3] = special[0, 0, 3, 3] = special[0, 0, 6, 8] = float("nan")
special[0, 1] = float("-inf")
special[0, 1, 0, 0] = float("inf")
for window, stride, padding in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (4, 3, 2), (5, 2, 0)]:
    for ceil in (False, True):
        setting = f"k{window}s{stride}p{padding}c{int(ceil)}"
        for label, x in (("tied", tied), ("special", special)):
            record(f"max_pool2d/{setting}/{label}", lambda x: F.max_pool2d(x, window, stride, padding, ceil_mode=ceil), x=x)
        for include in (False, True):
            record(
                f"avg_pool2d/{setting}i{int(include)}/tied",
                lambda x: F.avg_pool2d(x, window, stride, padding, ceil_mode=ceil, count_include_pad=include),
                x=tied,
            )
for rows, columns in [(1, 1), (2, 3), (7, 9), (5, 4), (9, 11)]:
    record(f"adaptive_avg_pool2d/{rows}x{columns}", lambda x: F.adaptive_avg_pool2d(x, (rows, columns)), x=tied)

edges = torch.tensor([-1.0, -0.0, 0.0, 2.0, float("nan"), float("inf"), float("-inf")])
record("relu", lambda x: F.relu(x), x=edges)
record("add_relu", lambda a, b: F.relu(a + b), a=edges, b=torch.tensor([1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 1.0]))

x = torch.randn(3, 5, 4, 6) * 2 + 1
weight, bias, residual = torch.randn(5), torch.randn(5), torch.randn(3, 5, 4, 6)
record("batch_norm_train/plain", lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5), x=x, weight=weight, bias=bias)
record(
    "batch_norm_train/residual_relu",
    lambda x, weight, bias, residual: F.relu(F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5) + residual),
    x=x, weight=weight, bias=bias, residual=residual,
)
running_mean, running_var = torch.zeros(5), torch.zeros(5)
F.batch_norm(x, running_mean, running_var, weight, bias, True, 1.0, 1e-5)
tensors["batch_norm_train/plain/running_mean"], tensors["batch_norm_train/plain/running_var"] = running_mean.clone(), running_var.clone()
mean, var = torch.randn(5), torch.rand(5) + 0.1
tensors["batch_norm_eval/mean"], tensors["batch_norm_eval/var"] = mean, var
record(
    "batch_norm_eval",
    lambda x, weight, bias, residual: F.relu(F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-3) + residual),
    x=x, weight=weight, bias=bias, residual=residual,
)

logits = torch.randn(6, 10) * 4
targets = torch.randint(0, 10, (6,))
tensors["cross_entropy/targets"] = targets.to(torch.int64)
for smoothing in (0.0, 0.1, 1.0):
    record(f"cross_entropy/{smoothing}", lambda logits: F.cross_entropy(logits, targets, label_smoothing=smoothing), logits=logits)
record("log_softmax", lambda x: F.log_softmax(x, -1), x=logits)
record("linear", lambda x, weight, bias: F.linear(x, weight, bias), x=logits, weight=torch.randn(7, 10), bias=torch.randn(7))

teacher = torch.randn(2, 3, 4, 4)
record("segment_match", lambda expanded, teacher: 4 * F.mse_loss(expanded, teacher.repeat(1, 4, 1, 1)), expanded=torch.randn(2, 12, 4, 4), teacher=teacher)


def trajectory(name: str, make) -> None:
    """Five steps with random gradients; the parameter after each."""
    parameter = torch.nn.Parameter(torch.randn(11))
    tensors[f"{name}/start"] = parameter.detach().clone()
    optimiser = make([parameter])
    for step in range(5):
        parameter.grad = torch.randn(11)
        tensors[f"{name}/grad.{step}"] = parameter.grad.clone()
        optimiser.step()
        tensors[f"{name}/param.{step}"] = parameter.detach().clone()


trajectory("sgd/plain", lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01))
trajectory("sgd/momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4))
trajectory("sgd/nesterov", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.1))
trajectory("sgd/dampened", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, dampening=0.3))
trajectory("adamw", lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1))

save_file(tensors, Path(__file__).parent / "operators.safetensors")
