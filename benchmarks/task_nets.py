"""Networks and tasks of the study of tasks: all trained here, on what is at hand.

A detector and a U-Net on canvases, a denoiser, and the features of a ResNet-56 that was
trained on CIFAR-10 (see `benchmarks.task_data`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

import edgeprune
from benchmarks.networks import cifar_resnet56
from benchmarks.task_data import (
    SIDE,
    Sets,
    features,
    noisy,
    regions,
    things,
    train_,
)
from edgeprune.files import cache_folder
from edgeprune.tasks import Segmentation

CLASSES = 10
STRIDES = (8, 16)
NEAR = 1.5  # cells from the middle of a thing that answer for it
LARGE = 36.0  # pixels: what is larger belongs to the coarser grid


@dataclass(frozen=True)
class Kind:
    """A task of the study.

    Attributes:
        epochs: of the first training; 0 where weights are at hand.
        task: as `--task` names it.
        ends: the layers whose outputs leave the network, which peers must be told.
    """

    make: Callable[[], nn.Module]
    data: Callable[[], Sets]
    task: str
    epochs: int
    ends: Callable[[nn.Module], list[nn.Module]]
    loss: Callable[[Tensor, Tensor], Tensor] | None = None


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class Split(nn.Module):
    """Half of the channels goes through bottlenecks, and all that came is joined."""

    def __init__(self, inputs: int, outputs: int, count: int = 1) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.half = _conv(inputs, outputs, 1), half
        self.inner = nn.ModuleList(
            nn.Sequential(_conv(half, half), _conv(half, half)) for _ in range(count)
        )
        self.last = _conv((2 + count) * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, outputs, H, W)."""
        parts = list(self.first(x).split(self.half, 1))
        for block in self.inner:
            parts.append(parts[-1] + block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Pooled(nn.Module):
    """Pooling over larger and larger surroundings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = _conv(width, width // 2, 1), _conv(2 * width, width, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Head(nn.Module):
    """Sides of boxes and scores of classes at each place, apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.box = nn.Sequential(_conv(width, 32), nn.Conv2d(32, 4, 1))
        self.kind = nn.Sequential(_conv(width, 48), nn.Conv2d(48, CLASSES, 1))
        nn.init.constant_(self.kind[1].bias, -4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, 4 + classes, H, W)."""
        return torch.cat([self.box(x), self.kind(x)], 1)


class Detector(nn.Module):
    """A detector as is usual: split blocks, pooling, paths up and down, two heads.

    Gives middles, sizes and scores, shape (N, 4 + classes, boxes), in pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 24, stride=2), _conv(24, 32, stride=2))
        self.two = Split(32, 32)
        self.three = nn.Sequential(_conv(32, 64, stride=2), Split(64, 64, 2))
        self.four = nn.Sequential(_conv(64, 96, stride=2), Split(96, 96), Pooled(96))
        self.up, self.down = Split(160, 64), _conv(64, 64, stride=2)
        self.deep = Split(160, 96)
        self.heads = nn.ModuleList([Head(64), Head(96)])

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, 4 + classes, boxes)."""
        three = self.three(self.two(self.stem(x)))
        four = self.four(three)
        wide = functional.interpolate(four, scale_factor=2.0)
        fine = self.up(torch.cat([wide, three], 1))
        coarse = self.deep(torch.cat([self.down(fine), four], 1))
        maps = [
            head(part) for head, part in zip(self.heads, (fine, coarse), strict=True)
        ]
        return torch.cat(
            [_boxes(part, stride) for part, stride in zip(maps, STRIDES, strict=True)],
            2,
        )


def _boxes(maps: Tensor, stride: int) -> Tensor:
    """Middles and sizes from the distances to the four sides."""
    count = maps.shape[3]
    along = (torch.arange(count) + 0.5) * stride
    flat = maps.flatten(2)
    sides = functional.softplus(flat[:, :4]) * stride
    x, y = along.repeat(count), along.repeat_interleave(count)
    left, top, right, bottom = sides.unbind(1)
    middle = [x + (right - left) / 2, y + (bottom - top) / 2]
    size = [left + right, top + bottom]
    return torch.cat([torch.stack(middle + size, 1), flat[:, 4:].sigmoid()], 1)


class Clothes(edgeprune.Detection):
    """Detection that is learnt from boxes, too."""

    learns = True

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Overlap of boxes near the middles of things, and scores at all places."""
        del smoothing
        return detection_loss(outputs, targets)


def detection_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Focal loss of scores, and what boxes lack in overlap.

    Args:
        outputs: shape (N, 4 + classes, boxes).
        targets: shape (N, things, 5).
    """
    cells, strides = _cells()
    there = targets[..., 0] >= 0
    corners, kinds = targets[..., 1:], targets[..., 0].long().clamp_min(0)
    middles = (corners[..., :2] + corners[..., 2:]) / 2
    size = (corners[..., 2:] - corners[..., :2]).amax(-1)
    off = (cells[None, None] - middles[:, :, None]).abs().amax(-1)  # (N, things, boxes)
    fits = off < NEAR * strides
    fits &= (size[..., None] > LARGE) == (strides > STRIDES[0])
    fits &= there[..., None]
    best, thing = torch.where(fits, off, torch.inf).min(1)
    sample, place = torch.isfinite(best).nonzero(as_tuple=True)
    thing = thing[sample, place]
    wanted = torch.zeros_like(outputs[:, 4:])
    wanted[sample, kinds[sample, thing], place] = 1.0
    scores = torch.logit(outputs[:, 4:].clamp(1e-6, 1 - 1e-6))
    count = max(len(sample), 1)
    classed = sigmoid_focal_loss(scores, wanted, alpha=-1, reduction="sum") / count
    found = outputs[sample, :4, place]
    found = torch.cat(
        [found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1
    )
    missed = generalized_box_iou_loss(found, corners[sample, thing], reduction="sum")
    return classed + 2 * missed / count


def _cells() -> tuple[Tensor, Tensor]:
    """Middles of all cells in pixels, (boxes, 2), and their strides."""
    places, strides = [], []
    for stride in STRIDES:
        along = (torch.arange(SIDE // stride) + 0.5) * stride
        rows, columns = torch.meshgrid(along, along, indexing="ij")
        places.append(torch.stack([columns.flatten(), rows.flatten()], 1))
        strides.append(torch.full((len(places[-1]),), float(stride)))
    return torch.cat(places), torch.cat(strides)


class UNet(nn.Module):
    """Down, up again, and across; scores at every second place."""

    def __init__(self, outputs: int, width: int = 24) -> None:
        super().__init__()
        widths = (width, 2 * width, 3 * width, 4 * width)
        before = (3, *widths)
        self.down = nn.ModuleList(
            nn.Sequential(_conv(one, two, stride=1 + (one == 3)), _conv(two, two))
            for one, two in zip(before, widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(two, one, 2, 2) for one, two in pairwise(widths)
        )
        self.across = nn.ModuleList(_conv(2 * one, one) for one in widths[:-1])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, outputs, H / 2, W / 2)."""
        held = []
        for at, block in enumerate(self.down):
            x = block(x if at == 0 else functional.max_pool2d(x, 2))
            held.append(x)
        for at in reversed(range(len(self.up))):
            x = self.across[at](torch.cat([held[at], self.up[at](x)], 1))
        return self.head(x)


class Denoiser(nn.Module):
    """What is to be taken away from an image."""

    def __init__(self, width: int = 48, depth: int = 7) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The image without it."""
        return x - self.body(x)


def make_detector() -> nn.Module:
    """Untrained."""
    torch.manual_seed(0)
    return Detector()


def make_segmenter() -> nn.Module:
    """Untrained."""
    torch.manual_seed(0)
    return UNet(CLASSES + 1)


def make_denoiser() -> nn.Module:
    """Untrained."""
    torch.manual_seed(0)
    return Denoiser()


def make_embedding() -> nn.Module:
    """ResNet-56 without its classes."""
    model, _ = cifar_resnet56()
    model.linear = nn.Identity()
    return model


def make_clothes() -> edgeprune.Task:
    """The task of the detector."""
    return Clothes(CLASSES)


KINDS = {
    "detection": Kind(
        make_detector,
        things,
        "benchmarks.task_nets:make_clothes",
        20,
        lambda model: [
            part for head in model.heads for part in (head.box[-1], head.kind[-1])
        ],
        detection_loss,
    ),
    "segmentation": Kind(
        make_segmenter,
        regions,
        "segmentation",
        20,
        lambda model: [model.head],
        Segmentation().loss,
    ),
    "image": Kind(
        make_denoiser,
        noisy,
        "image",
        8,
        lambda model: [model.body[-1]],
        functional.mse_loss,
    ),
    "embedding": Kind(
        make_embedding,
        lambda: features(make_embedding().eval()),
        "embedding",
        0,
        lambda model: [block.conv2 for block in model.layer3],
    ),
}


def trained(name: str) -> nn.Module:
    """A network of the study, trained once and kept."""
    kind = KINDS[name]
    model = kind.make()
    path = cache_folder() / f"task-{name}-{kind.epochs}.safetensors"
    if kind.epochs and path.is_file():
        model.load_state_dict(load_file(path))
    elif kind.epochs:
        assert kind.loss is not None
        train_(model, kind.data()[0].tensors, kind.loss, kind.epochs, 2e-3)
        save_file(model.state_dict(), path)
    return model.eval()
