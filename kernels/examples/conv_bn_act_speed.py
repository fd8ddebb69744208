"""Milliseconds of convolution + batch norm + ReLU in PyTorch: the peer of conv_bn_act_speed.rs."""
import sys

import torch
from conv2d_speed import fastest

ROWS = [
    ("3x3 16-16 @32", 64, 16, 16, 32, 3, 1, 1, False),
    ("3x3 16-16 @32 +res", 64, 16, 16, 32, 3, 1, 1, True),
    ("3x3 32-32 @16 +res", 64, 32, 32, 16, 3, 1, 1, True),
    ("3x3 64-64 @8 +res", 64, 64, 64, 8, 3, 1, 1, True),
    ("3x3 s2 16-32 @32", 64, 16, 32, 32, 3, 2, 1, False),
    ("1x1 64-128 @32 b32", 32, 64, 128, 32, 1, 1, 0, False),
]


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    torch.set_flush_denormal(True)
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    for name, batch, inputs, outputs, size, kernel, stride, padding, residual in ROWS:
        if part not in name:
            continue
        x = (torch.rand(batch, inputs, size, size) * 2 - 1).requires_grad_()
        conv = torch.nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        norm = torch.nn.BatchNorm2d(outputs)
        side = -(-size // stride)
        other = torch.rand(batch, outputs, side, side).requires_grad_()

        def forward():
            z = norm(conv(x))
            return torch.relu(z + other if residual else z)

        def step():
            x.grad = other.grad = None
            conv.zero_grad(), norm.zero_grad()
            forward().sum().backward()

        with torch.no_grad():
            quiet = fastest(forward)
        print(f"{name:22} {quiet:8.3f} {fastest(step):8.3f}", flush=True)


if __name__ == "__main__":
    main()
