"""Milliseconds of resizing in PyTorch: the peer of resize_speed.rs, same rows, same output."""
import sys
import time

import torch
import torch.nn.functional as F

ROWS = [
    (16, 64, (16, 16), (32, 32)),
    (16, 128, (8, 8), (16, 16)),
    (8, 32, (64, 64), (128, 128)),
    (64, 1, (8, 8), (32, 32)),
    (1, 3, (480, 640), (224, 224)),
    (16, 64, (32, 32), (16, 16)),
    (16, 64, (14, 14), (33, 33)),
    (4, 128, (1, 200), (1, 400)),
]
torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
PART = sys.argv[2] if len(sys.argv) > 2 else ""


def fastest(run) -> float:
    """The fastest run of at least 15, over at least 0.1 s."""
    begin, best, runs = time.perf_counter(), float("inf"), 0
    while runs < 15 or time.perf_counter() - begin < 0.1:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best * 1e3


for batch, channels, size, output in ROWS:
    x = (torch.rand(batch, channels, *size) * 2 - 1).requires_grad_()
    for method in ["bilinear", "bilinear corners", "nearest"]:
        name = f"{method} {batch}x{channels} {size[0]}x{size[1]}-{output[0]}x{output[1]}"
        if PART not in name:
            continue
        options = {"mode": method.split()[0]}
        if options["mode"] == "bilinear":
            options["align_corners"] = method == "bilinear corners"
        resize = lambda: F.interpolate(x, output, **options)
        gradient = torch.ones(batch, channels, *output)

        def both():
            x.grad = None
            resize().backward(gradient)

        print(f"{name:44} fwd {fastest(resize):8.3f} fwd+bwd {fastest(both):8.3f}", flush=True)
