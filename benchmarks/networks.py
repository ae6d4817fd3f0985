"""The networks of the studies: torchvision's, and two that were trained on CIFAR-10.

The trained ones and CIFAR-10 itself are looked for at EDGEPRUNE_TEST_DATA, by default
`../shared/data` beside the checkout; studies that need them skip, saying so.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from edgeprune.graph.trace import Inputs
from tests.nets import CifarResNet

HERE = Path(__file__).parent
VALIDATION = 5000  # the last training images: balanced
SHEET = (25, 40, 32)  # rows, columns and side of the images on one sheet


@dataclass(frozen=True)
class Cifar10:
    """Images, shape (N, 3, 32, 32) in 0..1 and normalised, with their classes."""

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


def cifar_resnet56(*, trained: bool = True) -> tuple[nn.Module, Inputs]:
    """ResNet-56 with padded shortcuts, 93.39 % on the test images."""
    model = CifarResNet(9)
    if trained:
        path = data_folder() / "checkpoints" / "resnet56-4bfd9763.th"
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
        (x[:2048], train_y[:2048]),
        (x[-VALIDATION:], train_y[-VALIDATION:]),
        (parts["test"], test_y),
    )


def _cut(path: Path) -> np.ndarray:
    rows, columns, side = SHEET
    sheet = np.asarray(Image.open(path))
    cut = sheet.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return cut.reshape(-1, side, side, 3)
