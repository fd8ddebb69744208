"""Milliseconds of each convolution pass in PyTorch: the peer of conv2d_speed.rs, same rows, same output."""
import sys
import time

import torch

ROWS = [
    ("3x3 16-16 @32", 64, 16, 16, 32, 3, 1, 1, 1),
    ("3x3 32-32 @16", 64, 32, 32, 16, 3, 1, 1, 1),
    ("3x3 64-64 @8", 64, 64, 64, 8, 3, 1, 1, 1),
    ("3x3 128-128 @8", 64, 128, 128, 8, 3, 1, 1, 1),
    ("3x3 32-32 @32", 64, 32, 32, 32, 3, 1, 1, 1),
    ("3x3 64-64 @32 b16", 16, 64, 64, 32, 3, 1, 1, 1),
    ("3x3 128-128 @28 b16", 16, 128, 128, 28, 3, 1, 1, 1),
    ("3x3 s2 16-32 @32", 64, 16, 32, 32, 3, 2, 1, 1),
    ("3x3 s2 32-64 @16", 64, 32, 64, 16, 3, 2, 1, 1),
    ("stem 3-16 @32", 64, 3, 16, 32, 3, 1, 1, 1),
    ("1x1 s2 16-32 @32", 64, 16, 32, 32, 1, 2, 0, 1),
    ("1x1 64-128 @32 b32", 32, 64, 128, 32, 1, 1, 0, 1),
    ("1x1 16-96 @16", 64, 16, 96, 16, 1, 1, 0, 1),
    ("1x1 96-24 @16", 64, 96, 24, 16, 1, 1, 0, 1),
    ("dw 64 @32 b32", 32, 64, 64, 32, 3, 1, 1, 64),
    ("dw 144 @16", 64, 144, 144, 16, 3, 1, 1, 144),
    ("dw 192 @16", 64, 192, 192, 16, 3, 1, 1, 192),
    ("dw s2 64 @32 b32", 32, 64, 64, 32, 3, 2, 1, 64),
    ("dw s2 144 @16", 64, 144, 144, 16, 3, 2, 1, 144),
    ("dw 384 @8", 64, 384, 384, 8, 3, 1, 1, 384),
    ("5x5 32-32 @16", 64, 32, 32, 16, 5, 1, 2, 1),
    ("3x3 g4 64-64 @16", 64, 64, 64, 16, 3, 1, 1, 4),
]


def fastest(call):
    start, best, calls = time.perf_counter(), float("inf"), 0
    while calls < 5 or time.perf_counter() - start < 0.08:
        begin = time.perf_counter()
        call()
        best = min(best, (time.perf_counter() - begin) * 1e3)
        calls += 1
    return best


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    torch.set_flush_denormal(True)
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    backward = torch.ops.aten.convolution_backward
    for name, batch, inputs, outputs, size, kernel, stride, padding, groups in ROWS:
        if part not in name:
            continue
        x = torch.rand(batch, inputs, size, size) * 2 - 1
        w = torch.rand(outputs, inputs // groups, kernel, kernel) * 2 - 1
        geometry = ([stride] * 2, [padding] * 2, [1, 1])
        with torch.no_grad():
            dy = torch.rand_like(torch.conv2d(x, w, None, *geometry, groups))
            forward = fastest(lambda: torch.conv2d(x, w, None, *geometry, groups))
            one = lambda mask: backward(dy, x, w, None, *geometry, False, [0, 0], groups, mask)
            dx = fastest(lambda: one([True, False, False]))
            dw = fastest(lambda: one([False, True, False]))
        print(f"{name:22} {forward:8.3f} {dx:8.3f} {dw:8.3f}", flush=True)


if __name__ == "__main__":
    main()
