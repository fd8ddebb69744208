"""The two networks of the step benchmark in PyTorch, of the shapes in the zoo's registry."""

import torch
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; a projection where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_bn = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_bn = nn.BatchNorm2d(outputs)
        self.project = None
        if stride != 1 or inputs != outputs:
            self.project = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = F.relu(self.first_bn(self.first(x)))
        y = self.second_bn(self.second(y))
        return F.relu(y + (x if self.project is None else self.project(x)))


class WideBlock(nn.Module):
    """Pre-activation: batch norm and ReLU before each convolution."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first_bn = nn.BatchNorm2d(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second_bn = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.project = None
        if inputs != outputs:
            self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.first_bn(x))
        shortcut = x if self.project is None else self.project(y)
        return shortcut + self.second(F.relu(self.second_bn(self.first(y))))


class Network(nn.Module):
    """Stem, three stages, global mean, linear layer."""

    def __init__(self, block, widths, blocks, wide, classes=100):
        super().__init__()
        self.wide = wide
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        layers, inputs = [], 16
        for stage, width in enumerate(widths):
            for index in range(blocks):
                layers.append(block(inputs, width, 2 if stage > 0 and index == 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs if wide else 16)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.stem(x)
        if self.wide:
            x = F.relu(self.bn(self.stages(x)))
        else:
            x = self.stages(F.relu(self.bn(x)))
        return self.fc(x.mean((2, 3)))


NETWORKS = {
    "resnet20": lambda: Network(BasicBlock, (16, 32, 64), 3, wide=False),
    "wrn_16_2": lambda: Network(WideBlock, (32, 64, 128), 2, wide=True),
}


def parameters(name):
    return sum(p.numel() for p in NETWORKS[name]().parameters())
