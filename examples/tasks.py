"""Networks and data of other tasks than classification, for the guide to tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.utils.data import TensorDataset

import edgeprune

SIZES = (160, 48, 48)  # of the training, validation and test split
Parts = tuple[TensorDataset, ...]


def squares() -> list[tuple[Tensor, Tensor]]:
    """Noisy images of 3x32x32 with a bright square, and the masks that show it."""
    generator = torch.Generator().manual_seed(0)
    parts: list[tuple[Tensor, Tensor]] = []
    for count in SIZES:
        x = 0.3 * torch.rand(count, 3, 32, 32, generator=generator)
        masks = torch.zeros(count, 32, 32, dtype=torch.long)
        places = torch.randint(0, 20, (count, 2), generator=generator)
        for number, (top, left) in enumerate(places.tolist()):
            masks[number, top : top + 10, left : left + 10] = 1
        parts.append((x + 0.6 * masks[:, None], masks))
    return parts


def make_masks() -> Parts:
    """Which pixels belong to the square: class numbers, shape (N, 32, 32)."""
    return tuple(TensorDataset(x, masks) for x, masks in squares())


def make_clean() -> Parts:
    """The image without noise, values 0..1, shape (N, 3, 32, 32)."""
    return tuple(
        TensorDataset(x, 0.15 + 0.6 * masks[:, None].expand_as(x).float())
        for x, masks in squares()
    )


def make_places() -> Parts:
    """Where the square is: row and column as shares of the image, shape (N, 2)."""
    return tuple(TensorDataset(x, _middle(masks)) for x, masks in squares())


def make_boxes() -> Parts:
    """Around the square: rows of class, x1, y1, x2, y2 in pixels, shape (N, 1, 5)."""
    parts: list[TensorDataset] = []
    for x, masks in squares():
        rows, columns = masks.amax(2), masks.amax(1)
        top, left = rows.argmax(1), columns.argmax(1)
        sides = [torch.zeros_like(top), left, top, left + 10, top + 10]
        parts.append(TensorDataset(x, torch.stack(sides, 1)[:, None].float()))
    return tuple(parts)


def make_photos() -> Parts:
    """Images alone: nobody has labelled them."""
    return tuple(TensorDataset(x) for x, _ in squares())


def make_photos_with_zoom() -> list[list[dict[str, Tensor]]]:
    """Two inputs by name, without labels: an image, and the number of a lens."""
    return [
        [{"image": image, "lens": torch.tensor(at % 4)} for at, image in enumerate(x)]
        for x, _ in squares()
    ]


def make_small_and_large() -> Parts:
    """Images of 3x16x16, and what they were made of, shape (N, 3, 32, 32)."""
    return tuple(TensorDataset(avg_pool2d(x, 2), x) for x, _ in squares())


def make_signals() -> Parts:
    """Two channels of 256 steps: which of four frequencies is in the noise?"""
    generator = torch.Generator().manual_seed(0)
    along = torch.linspace(0, 6.28, 256)
    parts: list[TensorDataset] = []
    for count in SIZES:
        classes = torch.randint(0, 4, (count,), generator=generator)
        waves = (4.0 * (1 + classes[:, None]) * along).sin()[:, None]
        noise = torch.randn(count, 2, 256, generator=generator)
        parts.append(TensorDataset(waves + noise, classes))
    return tuple(parts)


def _middle(masks: Tensor) -> Tensor:
    held = masks.float()
    along = torch.arange(32) / 32
    area = held.sum((1, 2))
    rows, columns = held.sum(2) @ along, held.sum(1) @ along
    return torch.stack([rows / area, columns / area], 1)


class Upscaler(nn.Module):
    """Twice the resolution: cells of 2x2 pixels are channels until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_layer(3, 48), _layer(48, 48))
        self.cells, self.spread = nn.Conv2d(48, 12, 3, 1, 1), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, 3, 2H, 2W)."""
        near = interpolate(x, scale_factor=2.0, mode="bilinear")
        return near + self.spread(self.cells(self.trunk(x)))


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Down, up again, and across: scores of classes, or a picture."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.down = _layer(3, 32), _layer(32, 64, 2)
        self.deep, self.up = _layer(64, 64), nn.ConvTranspose2d(64, 32, 2, 2)
        self.last, self.head = _layer(64, 32), nn.Conv2d(32, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, outputs, H, W)."""
        whole = self.first(x)
        half = self.deep(self.down(whole))
        return self.head(self.last(torch.cat([whole, self.up(half)], 1)))


class Detector(nn.Module):
    """Boxes around the middles of cells of 4x4 pixels, and which of them are the best.

    Its head gives sides and scores of each cell; what comes behind it is plain Python,
    which no file can hold.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_layer(3, 32), _layer(32, 64, 2), _layer(64, 64, 2))
        self.head = nn.Conv2d(64, 5, 1)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """The boxes of each image: corners, numbers of classes, scores."""
        maps = self.head(self.trunk(x))
        along = 4 * torch.arange(maps.shape[3]) + 2
        middle = torch.stack(torch.meshgrid(along, along, indexing="xy"), 2).view(-1, 2)
        found: list[dict[str, Tensor]] = []
        for one in maps.flatten(2).transpose(1, 2):
            near, far = one[:, :4].exp().split(2, 1)
            corners = torch.cat([middle - near, middle + far], 1)
            scores = one[:, 4].sigmoid()
            best = [
                int(at) for at in scores.argsort(descending=True) if scores[at] > 0.05
            ]
            found.append(
                {
                    "boxes": corners[best],
                    "labels": torch.zeros(len(best), dtype=torch.long),
                    "scores": scores[best],
                }
            )
        return found


class Camera(nn.Module):
    """An image and the number of a lens; a place, scores and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_layer(3, 32), _layer(32, 64, 2), _layer(64, 64, 2))
        self.lenses = nn.Embedding(4, 64)
        self.place, self.kind = nn.Linear(64, 2), nn.Linear(64, 5)
        self.vector = nn.Linear(64, 16)

    def forward(self, image: Tensor, lens: Tensor) -> dict[str, Tensor]:
        """Three outputs by name."""
        maps = self.trunk(image)
        x = maps.mean((2, 3)) * self.lenses(lens).sigmoid()
        return {"place": self.place(x), "kind": self.kind(x), "vector": self.vector(x)}


def make_segmenter() -> nn.Module:
    """Scores of two classes for each pixel."""
    torch.manual_seed(0)
    return UNet(2)


def make_denoiser() -> nn.Module:
    """A picture."""
    torch.manual_seed(0)
    return UNet(3)


def make_detector() -> nn.Module:
    """Boxes."""
    torch.manual_seed(0)
    return Detector()


def make_finder() -> nn.Module:
    """Two numbers."""
    torch.manual_seed(0)
    trunk = (_layer(3, 32), _layer(32, 64, 2), _layer(64, 64, 2))
    head = (nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 2))
    return nn.Sequential(*trunk, *head)


def make_upscaler() -> nn.Module:
    """A picture of twice the size."""
    torch.manual_seed(0)
    return Upscaler()


def make_listener() -> nn.Module:
    """Scores of four classes of signals, shape (N, 2, 256)."""
    torch.manual_seed(0)
    layers = [nn.Conv1d(2, 32, 9, 2, 4), nn.BatchNorm1d(32), nn.ReLU()]
    layers += [nn.Conv1d(32, 64, 9, 4, 4), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 4)
    )


def make_embedder() -> nn.Module:
    """A vector of 16 numbers whose direction is what counts."""
    torch.manual_seed(0)
    trunk = (_layer(3, 32), _layer(32, 64, 2), _layer(64, 64, 2))
    return nn.Sequential(
        *trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 16)
    )


class Sensors(nn.Module):
    """A picture and some numbers; a class and a place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1)
        self.meta = nn.Linear(5, 24)
        self.kind, self.place = nn.Linear(24, 4), nn.Linear(24, 2)

    def forward(self, image: Tensor, meta: Tensor) -> dict[str, Tensor]:
        """Two outputs by name."""
        x = self.second(self.first(image).relu()).relu().mean((2, 3))
        x = x + self.meta(meta).tanh()
        return {"kind": self.kind(x), "place": self.place(x)}


def make_sensors() -> nn.Module:
    """Two inputs that need no data to be known: numbers of any size."""
    return Sensors()


def make_camera() -> nn.Module:
    """Two inputs and a dict of three outputs."""
    torch.manual_seed(0)
    return Camera()


class Distance(edgeprune.Task):
    """How far a found place is from the right one, in pixels."""

    name = "distance"
    metric = edgeprune.Metric("distance", "px", False, 1.0, in_points=False)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of all distances, and how many there are."""
        off = 32 * (outputs.cpu() - targets.cpu()).norm(dim=1)
        return torch.tensor([float(off.sum()), len(off)])

    def value(self, sums: Tensor) -> float:
        """Their mean; a smaller one is better, so its negative."""
        return -float(sums[0] / sums[1])

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Squared distance."""
        del smoothing
        return (outputs - targets).square().sum(1).mean()


def make_distance() -> edgeprune.Task:
    """A task of your own."""
    return Distance()
