"""The lines of rk_step_speed.rs beside PyTorch, eager and compiled, in alternation.

    python rk_step_speed.py PROGRAM [threads [name]]

PROGRAM is the compiled example. For each line: milliseconds of Taper, PyTorch eager and
torch.compile (fastest of three alternations, each the fastest of many runs), and the ratios.
PyTorch's allocator keeps its pages, as Taper's does.
"""

import os
import subprocess
import sys
import time

KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33), "MALLOC_TOP_PAD_": str(1 << 28)}
if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEPT)

import torch
import torch.nn.functional as F

PROGRAM = sys.argv[1]
THREADS = int(sys.argv[2]) if len(sys.argv) > 2 else 2
ONLY = sys.argv[3] if len(sys.argv) > 3 else ""
torch.set_num_threads(THREADS)


def fastest(run) -> float:
    """Milliseconds of the fastest run of at least 15, over at least 0.3 s."""
    begin, best, runs = time.perf_counter(), float("inf"), 0
    while runs < 15 or time.perf_counter() - begin < 0.3:
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
        del result
        runs += 1
    return best * 1e3


def taper(name: str) -> tuple[float, str]:
    """Milliseconds and the fraction of copy bandwidth."""
    lines = subprocess.run([PROGRAM, str(THREADS), name], capture_output=True, text=True, check=True).stdout
    fields = next(line for line in lines.splitlines() if line.startswith(name + " ")).removeprefix(name).split()
    return float(fields[0]), fields[4]


def line(name: str, function, *arguments, backward=()) -> None:
    if ONLY not in name:
        return

    def runner(function):
        def run():
            for leaf in backward:
                leaf.grad = None
            result = function(*arguments)
            if backward:
                result.backward()
            return result

        return run

    runs = {"eager": runner(function), "compile": runner(torch.compile(function))}
    runs["compile"]()
    best = {"taper": (float("inf"), ""), "eager": float("inf"), "compile": float("inf")}
    for _ in range(3):
        best["taper"] = min(best["taper"], taper(name))
        for kind, run in runs.items():
            best[kind] = min(best[kind], fastest(run))
    (ours, copy), eager, compiled = best.values()
    print(f"{name:44} taper {ours:9.4f}  eager {eager:9.4f} ({ours / eager:.2f})  compile {compiled:9.4f} ({ours / compiled:.2f})  {copy} of copy", flush=True)


def state(x, scale, *terms):
    return x - scale * sum(weight * slope for weight, slope in terms)


def catch_up(*dims: int) -> None:
    size = "x".join(map(str, dims))
    tensors = [torch.rand(dims) * 2 - 1 for _ in range(7)]
    x, z, k1, k2, k3, k4 = tensors[0], tensors[1], *tensors[1:5]
    t = torch.rand(dims[0]) * 0.9 + 0.1
    t4 = t.view(-1, 1, 1, 1)
    line(f"interpolate {size}", lambda x, z: (t4 * z + (1 - t4) * x, z - x), x, z)
    line(f"rk_step 1 {size}", lambda x, k1: x - t4 * k1, x, k1)

    def second(x, k1, k2):
        slope = (k1 + k2) / 2
        return x - t4 * slope, x - 2 * t4 * slope

    def third(x, k1, k2, k3):
        slope = (5 * k1 + 8 * k2 - k3) / 12
        return x - t4 * slope, x - 2 * t4 * slope, x - 3 * t4 * slope

    line(f"rk_step 2 {size}", second, x, k1, k2)
    line(f"rk_step 3 {size}", third, x, k1, k2, k3)
    line(f"rk_step 4 {size}", lambda x, k1, k2, k3, k4: x - t4 * (k1 + 2 * k2 + 2 * k3 + k4) / 6, x, k1, k2, k3, k4)
    line(f"rk_stage 3 {size}", lambda x, k1, k2: x - t4 * (1.75 * k1 + 0.25 * k2), x, k1, k2)
    line(f"sampler euler {size}", lambda x, v: x - 0.1 * v, x, z)
    line(f"sampler ab2 {size}", lambda x, v, w: x - 0.1 * (1.5 * v - 0.5 * w), x, z, k2)
    line(f"sampler clamp {size}", lambda x, v: x - 0.1 * ((x - (x - 0.5 * v).clamp(-1, 1)) / 0.5), x, z)
    mask = (torch.arange(dims[0]) % 16 != 0).view(-1, 1, 1, 1)
    for n in (1, 2, 3):
        heads = [tensor.clone().requires_grad_() for tensor in tensors[:n]]
        targets = tensors[3 : 3 + n]

        def loss(g, *both):
            total = 0
            for p, u in zip(both[:n], both[n:]):
                total = total + F.mse_loss(p, torch.where(mask, u, g)) + F.mse_loss(p, g)
            return total

        line(f"catchup_loss {n} and backward {size}", loss, tensors[6], *heads, *targets, backward=heads)


def ctc(frames: int, batch: int, classes: int, longest: int) -> None:
    log_probs = torch.randn(frames, batch, classes).log_softmax(2)
    targets = torch.randint(1, classes, (batch, longest))
    lengths = torch.full((batch,), frames), torch.full((batch,), longest)
    size = f"{frames}x{batch}x{classes}x{longest}"
    function = lambda log_probs: F.ctc_loss(log_probs, targets, *lengths)
    line(f"ctc_loss {size}", function, log_probs)
    leaf = log_probs.clone().requires_grad_()
    line(f"ctc_loss and backward {size}", function, leaf, backward=[leaf])


for dims in ((128, 3, 32, 32), (1024, 3, 64, 64)):
    catch_up(*dims)
ctc(200, 16, 32, 40)
ctc(500, 8, 5000, 60)
