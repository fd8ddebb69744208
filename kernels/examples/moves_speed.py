"""The lines of moves_speed.rs for PyTorch: python moves_speed.py [threads [name]]."""

import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
part = sys.argv[2] if len(sys.argv) > 2 else ""


def line(name, run):
    if part not in name:
        return
    begin, best, runs = time.perf_counter(), 1e9, 0
    while runs < 15 or time.perf_counter() - begin < 0.2:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        runs += 1
    print(f"{name:36} {best * 1e3:8.3f}")


matrix = torch.rand(2048, 1024)
images = torch.rand(32, 64, 32, 32)
small = torch.rand(64, 16, 32, 32)
last = images.permute(0, 2, 3, 1).contiguous()
colours = torch.rand(32, 3, 224, 224)
tall = matrix.flatten()[:2_000_000].reshape(200_000, 10)
line("sum over axis 0", lambda: matrix.sum(0))
line("sum over axis 1", lambda: matrix.sum(1))
line("full sum", lambda: matrix.sum())
line("sum over (2, 3)", lambda: images.sum((2, 3)))
line("sum over (0, 2, 3)", lambda: images.sum((0, 2, 3)))
line("sum over (0, 2, 3) small", lambda: small.sum((0, 2, 3)))
line("sum over 1", lambda: images.sum(1))
line("sum over 0 of 200000x10", lambda: tall.sum(0))
line("sum over 1 of 200000x10", lambda: tall.sum(1))
line("copy NCHW to NHWC", lambda: images.permute(0, 2, 3, 1).contiguous())
line("copy NHWC to NCHW", lambda: last.permute(0, 3, 1, 2).contiguous())
line("copy NCHW to NHWC small", lambda: small.permute(0, 2, 3, 1).contiguous())
line("copy NCHW to NHWC 3 channels", lambda: colours.permute(0, 2, 3, 1).contiguous())
line("copy transpose(0, 1)", lambda: matrix.t().contiguous())
line("copy transpose(0, 1) of images", lambda: images.transpose(0, 1).contiguous())
line("copy transpose(1, 2) of 4 axes", lambda: images.transpose(1, 2).contiguous())
line("copy narrow", lambda: matrix[:, 3:1003].contiguous())
line("copy broadcast", lambda: matrix[:1].expand(2048, 1024).contiguous())
line("copy broadcast column", lambda: matrix[:, :1].contiguous().expand(2048, 1024).contiguous())
