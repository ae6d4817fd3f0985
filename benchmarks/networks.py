"""The networks of the studies: torchvision's, and two that were trained on CIFAR-10.

The trained ones and CIFAR-10 itself are looked for at EDGEPRUNE_TEST_DATA, by default
`../shared/data` beside the checkout; studies that need them skip, saying so.
"""

from __future__ import annotations

import gzip
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgeprune.data import Splits
from edgeprune.data.splits import Arrays
from edgeprune.files import cache_folder
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.graph.trace import Inputs
from tests.nets import CifarResNet

HERE = Path(__file__).parent
VALIDATION = 5000  # the last training images: balanced
SHEET = (25, 40, 32)  # rows, columns and side of the images on one sheet


@dataclass(frozen=True)
class Cifar10:
    """Images, shape (N, 3, 32, 32) in 0..1 and normalised, with their classes."""

    train: tuple[Tensor, Tensor]
    calibration: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def data_folder() -> Path:
    """Where the real data are; ends with a sentence where they are not."""
    folder = Path(
        os.environ.get("EDGEPRUNE_TEST_DATA", HERE.parents[1] / "shared/data")
    )
    if not folder.is_dir():
        sys.exit(f"skipped: no data at {folder}; set EDGEPRUNE_TEST_DATA")
    return folder


def torchvision_network(name: str) -> tuple[nn.Module, Inputs]:
    """One of torchvision's, with random weights, and a batch of one image."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    return model.eval(), (torch.randn(1, 3, 224, 224),)


def cifar_resnet20() -> tuple[nn.Module, Inputs]:
    """ResNet-20 with padded shortcuts, 91.73 % on the test images."""
    return _cifar_resnet(3, "resnet20-12fca82f.th")


def cifar_resnet56(*, trained: bool = True) -> tuple[nn.Module, Inputs]:
    """ResNet-56 with padded shortcuts, 93.39 % on the test images."""
    return _cifar_resnet(9, "resnet56-4bfd9763.th" if trained else None)


def _cifar_resnet(blocks: int, checkpoint: str | None) -> tuple[nn.Module, Inputs]:
    model = CifarResNet(blocks)
    if checkpoint is not None:
        path = data_folder() / "checkpoints" / checkpoint
        held = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        named = {key.removeprefix("module."): value for key, value in held.items()}
        model.load_state_dict(named)
    return model.eval(), (torch.randn(1, 3, 32, 32),)


def cifar_vgg16(*, trained: bool = True) -> tuple[nn.Module, Inputs]:
    """VGG-16 with batch norm and one linear layer."""
    model = torchvision.models.vgg16_bn(num_classes=10)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Sequential(nn.Linear(512, 10))
    if trained:
        path = data_folder() / "checkpoints" / "vgg16_bn_cifar10.pt"
        held = torch.load(path, map_location="cpu", weights_only=True)
        named = {
            key.replace("classifier.", "classifier.0."): value.float()
            if value.is_floating_point()
            else value
            for key, value in held.items()
        }
        model.load_state_dict(named)
    return model.eval(), (torch.randn(1, 3, 32, 32),)


def cifar10(mean: tuple[float, ...], std: tuple[float, ...]) -> Cifar10:
    """All of CIFAR-10; the last training images are the validation split."""
    folder = data_folder() / "cifar10"
    labels = np.load(folder / "labels.npz")
    parts: dict[str, Tensor] = {}
    for part in ("train", "test"):
        sheets = sorted(folder.glob(f"{part}*.webp"))
        images = np.concatenate([_cut(path) for path in sheets])
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        shape = (1, 3, 1, 1)
        parts[part] = (x - torch.tensor(mean).reshape(shape)) / torch.tensor(
            std
        ).reshape(shape)
    train_y, test_y = (
        torch.from_numpy(labels[key]).long() for key in ("y_train", "y_test")
    )
    x = parts["train"]
    return Cifar10(
        (x[:-VALIDATION], train_y[:-VALIDATION]),
        (x[:2048], train_y[:2048]),
        (x[-VALIDATION:], train_y[-VALIDATION:]),
        (parts["test"], test_y),
    )


def _cut(path: Path) -> np.ndarray:
    rows, columns, side = SHEET
    sheet = np.asarray(Image.open(path))
    cut = sheet.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return cut.reshape(-1, side, side, 3)


def fashion_mnist() -> Arrays:
    """All of Fashion-MNIST as bytes, shape (N, 1, 28, 28)."""
    return _digits("Fashion-MNIST", "fashion_mnist", border=0)


def mnist() -> Arrays:
    """All of MNIST as bytes, shape (N, 1, 32, 32), with a border of zeros."""
    return _digits("MNIST", "mnist", border=2)


def _digits(name: str, folder: str, *, border: int) -> Arrays:
    held = data_folder() / folder
    sides = ((0, 0), (0, 0), (border, border), (border, border))
    return Arrays(
        name,
        np.pad(_idx(held / "train-images-idx3-ubyte.gz")[:, None], sides),
        _idx(held / "train-labels-idx1-ubyte.gz"),
        np.pad(_idx(held / "t10k-images-idx3-ubyte.gz")[:, None], sides),
        _idx(held / "t10k-labels-idx1-ubyte.gz"),
    )


def mnist_vgg16() -> nn.Module:
    """VGG-16 with batch norm and one linear layer, for 1x32x32, not trained."""
    torch.manual_seed(0)
    model, _ = cifar_vgg16(trained=False)
    model.features[0] = nn.Conv2d(1, 64, 3, padding=1)
    return model


def signals() -> Arrays:
    """Japanese vowels: 12 channels of 25 samples, 9 speakers."""
    held = np.load(data_folder() / "timeseries" / "JapaneseVowels.npz")
    return Arrays("Japanese vowels", **{name: held[name] for name in held.files})


def power_demand() -> Arrays:
    """Italian power demand: 24 hours of a day, from one of two seasons."""
    held = np.load(data_folder() / "timeseries" / "ItalyPowerDemand.npz")
    return Arrays("Italian power demand", **{name: held[name] for name in held.files})


class SmallConv(nn.Module):
    """Five convolutions with batch norm, for images or for signals."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        axes: int,
        widths: tuple[int, ...] = (32, 32, 64, 64, 128),
    ) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
        norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[axes]
        pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d}[axes]
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            layers += [conv(channels, width, 3, padding=1), norm(width), nn.ReLU()]
            layers += [pool(2)] if index in (1, 3) else []
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, classes)."""
        return self.head(self.features(x).flatten(2).mean(2))


def small_conv(splits: Splits, epochs: int) -> tuple[nn.Module, Inputs]:
    """`SmallConv`, trained once and kept in the cache folder."""
    channels, *sides = splits.sample_shape
    torch.manual_seed(0)
    model = SmallConv(channels, splits.classes, axes=len(sides))
    path = cache_folder() / f"small_conv-{splits.name.replace(' ', '_')}.safetensors"
    if path.is_file():
        model.load_state_dict(load_file(path))
    else:
        recipe = TrainingConfig("baseline", epochs, learning_rate=0.05)
        model, _ = train(model, splits, recipe)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
    return model.eval(), (torch.randn(1, *splits.sample_shape),)


def _idx(path: Path) -> np.ndarray:
    """An array in the format of MNIST: a header, then bytes."""
    with gzip.open(path) as file:
        held = file.read()
    shape = np.frombuffer(held, ">i4", held[3], 4)
    return np.frombuffer(held, np.uint8, offset=4 + 4 * held[3]).reshape(shape).copy()
