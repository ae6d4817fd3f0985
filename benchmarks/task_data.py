"""The data of the study of tasks, and a first training.

Clothes (Fashion-MNIST) of some size lie at some place on a noisy canvas of 96x96: what
is where is detected, or said of each pixel. Images of CIFAR-10 get noise that is to be
taken away.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from benchmarks.networks import cifar10, data_folder

SIDE, MOST = 96, 4  # of a canvas, and clothes on it
SIZES = (6000, 600, 1000)  # training, validation and test samples
NOISE = 25 / 255
Sets = tuple[TensorDataset, TensorDataset, TensorDataset]


def canvases() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Images (N, 3, 96, 96), boxes (N, 4, 5), masks (N, 96, 96) of the three sets."""
    clothes, kinds = _clothes("train")
    other, others = _clothes("t10k")
    rng = np.random.default_rng(0)
    images, boxes, masks = [], [], []
    for number, count in enumerate(SIZES):
        x, kind = (other, others) if number == 2 else (clothes, kinds)
        found = [_canvas(x, kind, rng) for _ in range(count)]
        for held, at in ((images, 0), (boxes, 1), (masks, 2)):
            held.append(torch.from_numpy(np.stack([one[at] for one in found])))
    return images, boxes, masks


def _clothes(part: str) -> tuple[np.ndarray, np.ndarray]:
    folder = data_folder() / "fashion_mnist"
    held = {}
    for kind, skipped in (("images-idx3", 16), ("labels-idx1", 8)):
        (path,) = folder.rglob(f"{part}-{kind}-ubyte.gz")
        held[kind] = np.frombuffer(gzip.decompress(path.read_bytes())[skipped:], "u1")
    return held["images-idx3"].reshape(-1, 28, 28), held["labels-idx1"]


def _canvas(
    clothes: np.ndarray, kinds: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = rng.uniform(0, 0.25, (3, SIDE, SIDE)).astype(np.float32)
    rows = np.full((MOST, 5), -1, dtype=np.float32)
    mask = np.zeros((SIDE, SIDE), dtype=np.int64)
    for number in range(int(rng.integers(1, MOST + 1))):
        at, size = int(rng.integers(len(clothes))), int(rng.integers(20, 48))
        thing = torch.from_numpy(clothes[at].copy())[None, None].float() / 255
        thing = functional.interpolate(thing, (size, size), mode="bilinear")[0, 0]
        seen = thing.numpy() > 0.1
        if not seen.any():
            continue
        left, top = (int(rng.integers(0, SIDE - size)) for _ in range(2))
        place = slice(top, top + size), slice(left, left + size)
        tint = rng.uniform(0.5, 1, (3, 1, 1))
        image[:, *place] = np.where(seen, tint * thing.numpy(), image[:, *place])
        mask[place] = np.where(seen, kinds[at] + 1, mask[place])
        ys, xs = np.nonzero(seen)
        corners = [left + xs.min(), top + ys.min(), left + xs.max(), top + ys.max()]
        rows[number] = [kinds[at], *corners]
    return image, rows, mask


def things() -> Sets:
    """Canvases with boxes."""
    images, boxes, _ = canvases()
    first, second, third = map(TensorDataset, images, boxes)
    return first, second, third


def regions() -> Sets:
    """Canvases with a class of each pixel; 0 is nothing."""
    images, _, masks = canvases()
    pairs = zip(images, masks, (4000, 600, 1000), strict=True)
    first, second, third = (TensorDataset(x[:n], y[:n]) for x, y, n in pairs)
    return first, second, third


def noisy() -> Sets:
    """Images of CIFAR-10 with noise, and without."""
    held = cifar10((0.0,) * 3, (1.0,) * 3)
    generator = torch.Generator().manual_seed(0)
    found = []
    for (x, _), count in zip(
        (held.train, held.validation, held.test), (16000, 1000, 2000), strict=True
    ):
        clean = x[:count]
        noise = NOISE * torch.randn(clean.shape, generator=generator)
        found.append(TensorDataset(clean + noise, clean))
    return found[0], found[1], found[2]


def features(model: nn.Module) -> Sets:
    """Images of CIFAR-10, with the features that a network finds in them."""
    held = cifar10((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    found = []
    for (x, _), count in zip(
        (held.train, held.validation, held.test), (6000, 1000, 2000), strict=True
    ):
        with torch.inference_mode():
            y = torch.cat([model(part) for part in x[:count].split(250)])
        found.append(TensorDataset(x[:count], y.clone()))
    return found[0], found[1], found[2]


def train_(
    model: nn.Module,
    pairs: tuple[Tensor, ...],
    loss: Callable[[Tensor, Tensor], Tensor | None],
    epochs: int,
    rate: float,
    batch: int = 64,
) -> None:
    """Train a network by a loss alone."""
    x, y = pairs
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    model.train()
    for epoch in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            off = loss(model(x[rows]), y[rows])
            assert off is not None
            optimizer.zero_grad()
            off.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {off.item():.4f}", flush=True)
