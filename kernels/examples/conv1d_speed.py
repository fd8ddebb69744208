"""Milliseconds of each pass of the 1-D convolutions in PyTorch: the peer of conv1d_speed.rs, same rows, same output."""
import sys
import time

import torch

# Name, batch, channels in and out, length, kernel, stride, padding, groups.
ROWS = [
    ("pointwise 256-512 T200", 4, 256, 512, 200, 1, 1, 0, 1),
    ("pointwise 512-256 T200", 4, 512, 256, 200, 1, 1, 0, 1),
    ("pointwise 256-256 T200", 4, 256, 256, 200, 1, 1, 0, 1),
    ("pointwise 256-512 T200 b1", 1, 256, 512, 200, 1, 1, 0, 1),
    ("k3 s2 80-256 T400", 4, 80, 256, 400, 3, 2, 1, 1),
    ("k3 s2 256-256 T200", 4, 256, 256, 200, 3, 2, 1, 1),
    ("k3 80-256 T400", 4, 80, 256, 400, 3, 1, 1, 1),
    ("k5 256-256 T200", 4, 256, 256, 200, 5, 1, 2, 1),
    ("k31 s2 1-16 L16384", 8, 1, 16, 16384, 31, 2, 15, 1),
    ("k31 s2 16-32 L8192", 8, 16, 32, 8192, 31, 2, 15, 1),
    ("k31 s2 32-32 L4096", 8, 32, 32, 4096, 31, 2, 15, 1),
    ("k31 s2 32-64 L2048", 8, 32, 64, 2048, 31, 2, 15, 1),
    ("k31 s2 64-128 L512", 8, 64, 128, 512, 31, 2, 15, 1),
    ("k31 s2 128-256 L128", 8, 128, 256, 128, 31, 2, 15, 1),
    ("k31 s2 256-512 L32", 8, 256, 512, 32, 31, 2, 15, 1),
    ("k31 s2 512-1024 L16", 8, 512, 1024, 16, 31, 2, 15, 1),
    ("depthwise k15 256 T200", 4, 256, 256, 200, 15, 1, 7, 256),
    ("depthwise k31 256 T200", 4, 256, 256, 200, 31, 1, 15, 256),
]


def fastest(call):
    start, best, calls = time.perf_counter(), float("inf"), 0
    while calls < 3 or time.perf_counter() - start < 0.06:
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
        x = torch.rand(batch, inputs, size) * 2 - 1
        w = torch.rand(outputs, inputs // groups, kernel) * 2 - 1
        geometry = ([stride], [padding], [1])
        with torch.no_grad():
            dy = torch.rand_like(torch.conv1d(x, w, None, *geometry, groups))
            forward = fastest(lambda: torch.conv1d(x, w, None, *geometry, groups))
            one = lambda mask: backward(dy, x, w, None, *geometry, False, [0], groups, mask)
            dx = fastest(lambda: one([True, False, False]))
            dw = fastest(lambda: one([False, True, False]))
            bias = torch.rand(inputs)
            back = lambda: torch.conv_transpose1d(dy, w, bias, stride, padding, stride - 1, groups)
            transposed = fastest(back)
        print(f"{name:26} {forward:8.3f} {dx:8.3f} {dw:8.3f} {transposed:8.3f}", flush=True)


if __name__ == "__main__":
    main()
