"""Small networks, written as users write them."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams


class Bottom(nn.Module):
    """Two convolutions and a linear layer behind flatten."""

    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width * 16, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.second(x))
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))


def small():
    """For tests that need any network."""
    return Bottom(8)


class Signal(nn.Module):
    """One-dimensional convolutions, for signals of shape (channels, length)."""

    def __init__(self, channels=2, classes=2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x))


class Block(nn.Module):
    """A residual block whose shortcut slices space and pads channels."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = outputs // 4 if inputs != outputs else 0

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """ResNet for CIFAR-10 with parameter-free shortcuts (He 2016, option A)."""

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks)
        self.layer2 = self._stage(16, 32, blocks)
        self.layer3 = self._stage(32, 64, blocks)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(inputs, outputs, blocks):
        first = Block(inputs, outputs, 1 if inputs == outputs else 2)
        return nn.Sequential(
            first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1))
        )

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class HardCoded(nn.Module):
    """A size written into forward: the group behind it cannot be pruned."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 32, 3)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.second(F.relu(self.first(x)))).mean((2, 3))
        return self.head(x.view(-1, 32))


class Sliced(nn.Module):
    """Channels picked by number."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3)
        self.front = nn.Conv2d(16, 16, 3)
        self.some = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = self.first(x)
        y = self.front(x[:, :16]) + x[:, 16:, 1:-1, 1:-1]
        z = self.some(y[:, 2:10])
        return self.head(torch.cat([y, z], 1).amax((2, 3)))


class HalvesBySize(nn.Module):
    """Halves cut at a size that the code reads: each half must shrink alike."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.second = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x)
        half = x.shape[1] // 2
        x = self.second(x[:, :half]) * torch.sigmoid(x[:, half:])
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One convolution called twice, and tied weights under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 1, bias=False)
        self.other = nn.Conv2d(8, 8, 1, bias=False)
        self.other.weight = self.one.weight
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(self.first(x)))))
        x = self.other(torch.sigmoid(self.one(x)))
        return self.head(x.mean((2, 3)))


class Unknown(nn.Module):
    """An operator without a rule in one branch; the rest can be pruned."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3))
        return self.head(x.cumsum(1))


class Branching(nn.Module):
    """Control flow that depends on a value: runs, but does not trace."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        if x.sum() > 0:
            return x
        return -x


def small_mobilenet():
    """Depthwise convolutions, squeeze-and-excitation, a shortcut."""
    block = partial(InvertedResidualConfig, width_mult=1.0)
    blocks = [
        block(16, 3, 16, 16, True, "RE", 2, 1),
        block(16, 3, 72, 24, False, "RE", 2, 1),
        block(24, 5, 96, 24, True, "HS", 1, 1),
    ]
    return models.MobileNetV3(blocks, 128, num_classes=10)


def small_regnet():
    """Grouped convolutions."""
    params = BlockParams([1, 2], [32, 64], [16, 16], [1.0, 1.0], [2, 2])
    return models.RegNet(params, num_classes=10)


# Families of torchvision with few layers, which are wired as the large ones are.
SMALL_FAMILIES = {
    "densenet": lambda: models.DenseNet(8, (2, 2), 16, num_classes=10),
    "mobilenet_v3": small_mobilenet,
    "regnet": small_regnet,
    "shufflenet": lambda: models.ShuffleNetV2(
        [2, 2, 2], [24, 48, 96, 192, 256], num_classes=10
    ),
}
