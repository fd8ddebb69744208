"""The velocity networks of the benchmarks in PyTorch, of the shapes in the zoo's registry."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def group_norm(channels):
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps=1e-6)


class Attention(nn.Module):
    """One head over the pixels."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.qkv = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, channels, height * width).transpose(2, 3)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(1))
        mixed = mixed.transpose(1, 2).reshape(batch, channels, height, width)
        return (x + self.proj(mixed)) * math.sqrt(0.5)


class Block(nn.Module):
    """Residual block of DDPM++; `resample` is "up", "down" or None."""

    def __init__(self, inputs, outputs, embedding, dropout, resample=None, attention=False):
        super().__init__()
        self.resample, self.dropout = resample, dropout
        self.first_norm, self.first = group_norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, outputs)
        self.second_norm, self.second = group_norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or resample else None
        self.attention = Attention(outputs) if attention else None

    def resampled(self, x):
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x, embedding):
        y = self.first(self.resampled(F.silu(self.first_norm(x))))
        y = F.silu(self.second_norm(y + self.affine(embedding)[:, :, None, None]))
        y = self.second(F.dropout(y, self.dropout, self.training))
        x = self.resampled(x)
        y = (y + (x if self.skip is None else self.skip(x))) * math.sqrt(0.5)
        return y if self.attention is None else self.attention(y)


class UNet(nn.Module):
    """DDPM++ without labels: velocity at (x, t), t in 0..1."""

    def __init__(self, side, channels, width, multipliers, blocks, attention, dropout, phi):
        super().__init__()
        self.width, self.phi = width, phi
        embedding = 4 * width
        self.map = nn.ModuleList([nn.Linear(width, embedding), nn.Linear(embedding, embedding)])
        make = lambda inputs, outputs, **more: Block(inputs, outputs, embedding, dropout, **more)
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder, self.decoder, skips, now = nn.ModuleList(), nn.ModuleList(), [width], width
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                self.encoder.append(make(now, now, resample="down"))
                skips.append(now)
            for _ in range(blocks):
                attends = side >> level in attention
                self.encoder.append(make(now, width * multiplier, attention=attends))
                now = width * multiplier
                skips.append(now)
        self.middle = nn.ModuleList([make(now, now, attention=True), make(now, now)])
        self.joins = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            if level < len(multipliers) - 1:
                self.decoder.append(make(now, now, resample="up"))
                self.joins.append(False)
            for index in range(blocks + 1):
                attends = index == blocks and side >> level in attention
                self.decoder.append(make(now + skips.pop(), width * multiplier, attention=attends))
                self.joins.append(True)
                now = width * multiplier
        self.last_norm, self.last = group_norm(now), nn.Conv2d(now, channels, 3, padding=1)

    def embed(self, t):
        half = self.width // 2
        frequencies = 10000.0 ** (-torch.arange(half) / (half - 1))
        angle = t[:, None] * frequencies
        sines = torch.cat([angle.sin(), angle.cos()], 1)
        return F.silu(self.map[1](F.silu(self.map[0](sines))))

    def forward(self, x, t):
        embedding = self.embed(t)
        x = self.stem(x)
        skips = [x]
        for block in self.encoder:
            x = block(x, embedding)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding)
        if self.phi is not None:
            phi = (self.phi + (1 - 2 * self.phi) * t)[:, None, None, None]
        for block, joins in zip(self.decoder, self.joins):
            if joins and self.phi is None:
                x = torch.cat([x, skips.pop()], 1)
            elif joins:
                x = torch.cat([x * (2 * phi), skips.pop() * (2 * (1 - phi))], 1)
            x = block(x, embedding)
        return self.last(F.silu(self.last_norm(x)))


class Velocity(nn.Module):
    """Draws nothing: a batch's times are spread over 0..1."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x, (torch.arange(len(x)) + 0.5) / len(x))


def unet(shape, *settings):
    return lambda: Velocity(UNet(shape[1], shape[0], *settings))


MNIST, DIGITS, CIFAR = (1, 28, 28), (1, 8, 8), (3, 32, 32)
SMALL = (16, (1, 1, 2), 1, (), 0.0, None)

# Name -> (shape of an image, constructor).
VELOCITY = {
    "unet_small": (MNIST, unet(MNIST, *SMALL)),
    "unet_small_8": (DIGITS, unet(DIGITS, *SMALL)),
    "unet_small_32": (CIFAR, unet(CIFAR, *SMALL)),
    "cud_mnist": (MNIST, unet(MNIST, 32, (2, 2, 2), 2, (16,), 0.13, 0.25)),
    "cud_cifar10": (CIFAR, unet(CIFAR, 128, (2, 2, 2), 4, (16,), 0.13, 0.75)),
}
