"""The lines of ops_speed.rs for PyTorch: milliseconds, fastest of many runs.

    python ops_speed.py [threads [name]]
"""

import sys
import time

import torch
import torch.nn.functional as F

ONLY = sys.argv[2] if len(sys.argv) > 2 else ""
torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)


def fastest(run) -> float:
    """The fastest run of at least 15, over at least 0.4 s."""
    begin, best, runs = time.perf_counter(), float("inf"), 0
    while runs < 15 or time.perf_counter() - begin < 0.4:
        best = min(best, run())
        runs += 1
    return best * 1e3


def show(name: str, **times: float) -> None:
    print(f"{name:44}" + "".join(f" {label} {value:8.3f}" for label, value in times.items()), flush=True)


def operator(name: str, variables, function) -> None:
    if ONLY not in name:
        return

    def forward() -> float:
        begin = time.perf_counter()
        result = function()
        elapsed = time.perf_counter() - begin
        del result
        return elapsed

    def both() -> float:
        for variable in variables:
            variable.grad = None
        begin = time.perf_counter()
        result = function()
        result.backward(torch.ones_like(result))
        return time.perf_counter() - begin

    show(name, **{"fwd": fastest(forward), "fwd+bwd": fastest(both)})


def leaf(*dims: int) -> torch.Tensor:
    return (torch.rand(*dims) * 2 - 1).requires_grad_()


for dims in [(64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8)]:
    x, residual, weight, bias = leaf(*dims), leaf(*dims), leaf(dims[1]), leaf(dims[1])
    name = "x".join(map(str, dims))
    norm = lambda: F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5)
    operator(f"batch_norm_train {name}", [x, weight, bias], norm)
    operator(f"batch_norm_train+relu {name}", [x, weight, bias], lambda: F.relu(norm()))
    operator(f"batch_norm_train+residual+relu {name}", [x, weight, bias, residual], lambda: F.relu(norm() + residual))
    operator(f"relu {name}", [x], lambda: F.relu(x))
    operator(f"add_relu {name}", [x, residual], lambda: F.relu(x + residual))
    operator(f"max_pool2d 2/2 {name}", [x], lambda: F.max_pool2d(x, 2, 2))
    operator(f"max_pool2d 3/2/1 {name}", [x], lambda: F.max_pool2d(x, 3, 2, 1))
    operator(f"avg_pool2d 2/2 {name}", [x], lambda: F.avg_pool2d(x, 2, 2))
    operator(f"avg_pool2d 3/2/1 {name}", [x], lambda: F.avg_pool2d(x, 3, 2, 1))
    operator(f"adaptive_avg_pool2d 4x4 {name}", [x], lambda: F.adaptive_avg_pool2d(x, (4, 4)))
    operator(f"global_avg_pool2d {name}", [x], lambda: F.adaptive_avg_pool2d(x, 1).flatten(1))

for batch, inputs, outputs in [(64, 64, 10), (64, 256, 100), (800, 256, 1024)]:
    x, weight, bias = leaf(batch, inputs), leaf(outputs, inputs), leaf(outputs)
    operator(f"linear {batch}x{inputs}->{outputs}", [x, weight, bias], lambda: F.linear(x, weight, bias))
logits, targets = leaf(64, 100), torch.arange(64)
operator("cross_entropy 64x100", [logits], lambda: F.cross_entropy(logits, targets, label_smoothing=0.1))
x = (torch.rand(2048, 1024) * 8 - 4).requires_grad_()
for name, function in {
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softmax dim 1": lambda x: F.softmax(x, 1),
    "softmax dim 0": lambda x: F.softmax(x, 0),
    "log_softmax dim 1": lambda x: F.log_softmax(x, 1),
    "log_softmax dim 0": lambda x: F.log_softmax(x, 0),
    "glu dim 1": lambda x: F.glu(x, 1),
}.items():
    operator(f"{name} 2048x1024", [x], lambda: function(x))
for classes in (10, 100):
    x = leaf(4096, classes)
    operator(f"log_softmax dim 1 4096x{classes}", [x], lambda: F.log_softmax(x, 1))
for rows, size in [(800, 256), (800, 64), (2048, 1024)]:
    x, weight, bias = leaf(rows, size), leaf(size), leaf(size)
    operator(f"layer_norm {rows}x{size}", [x, weight, bias], lambda: F.layer_norm(x, (size,), weight, bias))
for dims in [(16, 64, 32, 32), (16, 128, 8, 8)]:
    x, weight, bias = leaf(*dims), leaf(dims[1]), leaf(dims[1])
    name = "x".join(map(str, dims))
    operator(f"group_norm 32 {name}", [x, weight, bias], lambda: F.group_norm(x, 32, weight, bias))
    operator(f"group_norm 32+silu {name}", [x, weight, bias], lambda: F.silu(F.group_norm(x, 32, weight, bias)))
for channels, side in [(128, 8), (64, 8), (256, 8), (512, 4), (512, 2), (2048, 2), (256, 4), (128, 4), (2048, 4)]:
    e, f_t = leaf(64, 8 * channels, side, side), torch.rand(64, channels, side, side)
    name = f"segment_match 64x{8 * channels}x{side}x{side}"
    operator(name, [e], lambda: 8 * ((e - f_t.repeat(1, 8, 1, 1)) ** 2).mean())
    operator(f"0.9 * {name}", [e], lambda: 0.9 * (8 * ((e - f_t.repeat(1, 8, 1, 1)) ** 2).mean()))


def step(optimiser) -> float:
    begin = time.perf_counter()
    optimiser.step()
    return time.perf_counter() - begin


for count in [] if ONLY else [2304, 1000000]:
    parameter = torch.nn.Parameter(torch.rand(count))
    parameter.grad = torch.rand(count)
    sgd = torch.optim.SGD([parameter], lr=1e-9, momentum=0.9, weight_decay=5e-4)
    show(f"sgd_step {count}", step=fastest(lambda: step(sgd)))
    adamw = torch.optim.AdamW([parameter], lr=1e-9)
    show(f"adamw_step {count}", step=fastest(lambda: step(adamw)))
    show(f"squared_norm {count}", step=fastest(lambda: (lambda b: (torch.sum(parameter.grad**2), time.perf_counter() - b)[1])(time.perf_counter())))
