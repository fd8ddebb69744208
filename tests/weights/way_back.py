#!/usr/bin/env python3
"""Loads what `taper weights convert --reverse` writes into PyTorch, strictly, and compares outputs.

    cargo build --release --bin taper
    python tests/weights/way_back.py --taper target/release/taper
    python tests/weights/way_back.py --names        # writes names/*.names, which the tests of the crate read

Needs torch and torchvision. Each network's state dict goes to the zoo's names and back to those of its
original; it must then load with strict=True and give bit-equal outputs.
"""
import argparse, subprocess, tempfile
from pathlib import Path
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent
DTYPES = {torch.float32: "F32", torch.int64: "I64"}


class Block(nn.Module):
    """3x3, 3x3; a stride takes every second pixel and pads channels with zeros on both sides."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, self.pad, self.pad)))


class CifarResNet(nn.Module):
    """The ResNet of akamaster/pytorch_resnet_cifar10 by its tensors' names."""

    def __init__(self, blocks=3, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), 1):
            layers = []
            for block in range(blocks):
                layers.append(Block(inputs, outputs, 2 if block == 0 and stage > 1 else 1))
                inputs = outputs
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def networks():
    """Name, network, size of its images, dialects that know it."""
    torch.manual_seed(1)
    yield "akamaster_resnet20", nn.DataParallel(CifarResNet()), 32, ["akamaster"]
    yield "resnet18", torchvision.models.resnet18(), 64, ["torchvision", "timm"]
    yield "mobilenet_v2", torchvision.models.mobilenet_v2(), 64, ["torchvision"]
    yield "shufflenet_v2_x1_0", torchvision.models.shufflenet_v2_x1_0(), 64, ["torchvision"]


def stir(network):
    """Running statistics as after a training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.1, 0.6)
            module.num_batches_tracked.fill_(7)
    return network.eval()


def output(network, size):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return network(torch.randn(2, 3, size, size, generator=generator))


def convert(taper, source, target, *flags):
    subprocess.run([taper, "weights", "convert", source, target, "--quiet", *flags], check=True, stdout=subprocess.DEVNULL)


def check(taper, name, network, size, dialect, folder):
    from safetensors.torch import load_file

    stir(network)
    expected = output(network, size)
    for legacy in (False, True):
        stem = f"{folder}/{name}-{dialect}-{legacy}"
        torch.save({"state_dict": network.state_dict()}, f"{stem}.pth", _use_new_zipfile_serialization=not legacy)
        convert(taper, f"{stem}.pth", f"{stem}-zoo.safetensors", "--dialect", dialect)
        convert(taper, f"{stem}-zoo.safetensors", f"{stem}-back.safetensors", "--dialect", dialect, "--reverse")
        state = load_file(f"{stem}-back.safetensors")
        for parameter in network.parameters():
            parameter.data.zero_()
        network.load_state_dict(state, strict=True)
        assert torch.equal(output(network, size), expected), f"{name} by {dialect}: outputs differ"
    print(f"{name} by {dialect}: loads strictly, outputs equal")


def through(taper, folder):
    """torchvision's MobileNetV2 under the names of two other repositories, and back."""
    from safetensors.torch import load_file

    network = stir(torchvision.models.mobilenet_v2())
    expected = output(network, 64)
    torch.save(network.state_dict(), f"{folder}/v2.pth")
    for dialect in ("timm", "d-li14"):
        there, back = f"{folder}/{dialect}.safetensors", f"{folder}/{dialect}-back.safetensors"
        convert(taper, f"{folder}/v2.pth", there, "--dialect", dialect, "--reverse")
        convert(taper, there, back, "--dialect", dialect)
        assert set(load_file(there)) != set(network.state_dict())
        network.load_state_dict(load_file(back), strict=True)
        assert torch.equal(output(network, 64), expected), dialect
        print(f"mobilenet_v2 through {dialect}: loads strictly, outputs equal")


def write_names():
    folder = HERE / "names"
    folder.mkdir(exist_ok=True)
    for name, network, _, _ in networks():
        lines = [
            f"{key} {DTYPES[value.dtype]} {','.join(map(str, value.shape)) or '-'}\n"
            for key, value in sorted(network.state_dict().items())
        ]
        (folder / f"{name}.names").write_text("".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--taper", default="target/release/taper")
    parser.add_argument("--names", action="store_true")
    arguments = parser.parse_args()
    if arguments.names:
        return write_names()
    with tempfile.TemporaryDirectory() as folder:
        for name, network, size, dialects in networks():
            for dialect in dialects:
                check(arguments.taper, name, network, size, dialect, folder)
        through(arguments.taper, folder)


if __name__ == "__main__":
    main()
