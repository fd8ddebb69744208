"""The networks of the benchmarks in PyTorch, of the shapes in the zoo's registry."""

import torch
from torch import nn
from torch.nn import functional as F

from velocity import VELOCITY


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


def conv_bn(inputs, outputs, kernel, stride=1, groups=1, relu=True, bias=False):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *[nn.ReLU(inplace=True)] * relu)


class Sum(nn.Module):
    """`body(x) + shortcut(x)`, then maybe ReLU."""

    def __init__(self, body, shortcut=None, relu=False):
        super().__init__()
        self.body, self.shortcut, self.relu = body, shortcut, relu

    def forward(self, x):
        y = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(y) if self.relu else y


class Pooled(nn.Module):
    """Layers, global mean, linear layer."""

    def __init__(self, layers, features, classes=100):
        super().__init__()
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(features, classes)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


def mobilenet_v2(width=0.5, expansion=6):
    """Half as wide, for 32 pixels: the 24-channel group keeps the resolution."""
    groups = [(16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]
    inputs = int(32 * width)
    layers = [conv_bn(3, inputs, 3, stride=2)]
    for index, (channels, blocks, first_stride) in enumerate(groups):
        outputs, factor = int(channels * width), expansion if index else 1
        for block in range(blocks):
            stride, inner = first_stride if block == 0 else 1, inputs * factor
            body = nn.Sequential(
                conv_bn(inputs, inner, 1),
                conv_bn(inner, inner, 3, stride, groups=inner),
                conv_bn(inner, outputs, 1, relu=False),
            )
            layers.append(Sum(body) if stride == 1 and inputs == outputs else body)
            inputs = outputs
    layers.append(conv_bn(inputs, 1280, 1))
    return Pooled(layers, 1280)


def resnet50():
    """Bottlenecks 3, 4, 6, 3 after a 3x3 stem without stride or pool."""
    layers, inputs = [conv_bn(3, 64, 3)], 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride, outputs = 2 if stage and block == 0 else 1, 4 * width
            body = nn.Sequential(
                conv_bn(inputs, width, 1), conv_bn(width, width, 3, stride), conv_bn(width, outputs, 1, relu=False)
            )
            project = conv_bn(inputs, outputs, 1, stride, relu=False) if inputs != outputs or stride > 1 else None
            layers.append(Sum(body, project, relu=True))
            inputs = outputs
    return Pooled(layers, inputs)


def interleave(left, right):
    """Channels of two tensors in turn: ShuffleNetV2's shuffle of two groups."""
    batch, channels, height, width = left.shape
    return torch.stack((left, right), 2).reshape(batch, 2 * channels, height, width)


class ShuffleBlock(nn.Module):
    """The branch of ShuffleNetV2; with a stride both halves come from the whole input."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        half = outputs // 2
        entering = inputs if stride > 1 else half
        self.right = nn.Sequential(
            conv_bn(entering, half, 1), conv_bn(half, half, 3, stride, groups=half, relu=False), conv_bn(half, half, 1)
        )
        self.left = None
        if stride > 1:
            self.left = nn.Sequential(
                conv_bn(inputs, inputs, 3, stride, groups=inputs, relu=False), conv_bn(inputs, half, 1)
            )

    def forward(self, x):
        if self.left is not None:
            return interleave(self.left(x), self.right(x))
        kept, moved = x.chunk(2, 1)
        return interleave(kept, self.right(moved))


def shufflenet_v2():
    """The paper's 1x after a 1x1 stem."""
    layers, inputs = [conv_bn(3, 24, 1)], 24
    for width, blocks in [(116, 3), (232, 7), (464, 3)]:
        layers += [ShuffleBlock(inputs, width, 2)] + [ShuffleBlock(width, width, 1) for _ in range(blocks)]
        inputs = width
    return Pooled(layers + [conv_bn(inputs, 1024, 1)], 1024)


def vgg8():
    """Five convolutions with bias; max-pools before the second, third and fourth."""
    layers, inputs = [], 3
    for index, width in enumerate([64, 128, 256, 512, 512]):
        layers += [nn.MaxPool2d(2)] * (1 <= index < 4) + [conv_bn(inputs, width, 3, bias=True)]
        inputs = width
    return Pooled(layers, inputs)


NETWORKS = {
    "resnet20": lambda: Network(BasicBlock, (16, 32, 64), 3, wide=False),
    "wrn_16_2": lambda: Network(WideBlock, (32, 64, 128), 2, wide=True),
    "cifar_mobilenetv2": mobilenet_v2,
    "cifar_shufflenetv2": shufflenet_v2,
    "cifar_resnet50": resnet50,
    "vgg8": vgg8,
    **{name: make for name, (_, make) in VELOCITY.items()},
}


def data_shape(name):
    """Channels, height and width where nothing else is said."""
    return VELOCITY[name][0] if name in VELOCITY else (3, 32, 32)


def loss(name, network, images):
    """What a training step brings down: cross-entropy; for velocity networks the mean square of velocity - image."""
    if name in VELOCITY:
        return F.mse_loss(network(images), images)
    return F.cross_entropy(network(images), torch.arange(len(images)) % 100)


def parameters(name):
    return sum(p.numel() for p in NETWORKS[name]().parameters())
