"""Images on disk as batches: decoded ahead by threads, and kept where they fit."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from edgeprune.data.memory import free_memory
from edgeprune.data.splits import Batch, Reading, Scale, as_float, ordered
from edgeprune.errors import DataError

AHEAD = 2  # batches that are decoded while one is trained on
MEMORY_SHARE = 0.25  # of what is free now, for decoded images
WORD = 2**16 - 1
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass
class Images:
    """Images by path, as bytes of one shape.

    Attributes:
        shape: (channels, height, width); 1 channel is grey, others red, green, blue.
        keep: decoded images stay in memory.
    """

    paths: tuple[str, ...]
    labels: Tensor
    shape: tuple[int, int, int]
    keep: bool
    _held: Tensor = field(init=False)
    _known: Tensor = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.paths) if self.keep else 0
        self._held = torch.empty((count, *self.shape), dtype=torch.uint8)
        self._known = torch.zeros(len(self.paths), dtype=torch.bool)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        """One of them, shape (channels, height, width), in bytes.

        Raises:
            DataError: which file is broken.
        """
        if self._known[at]:
            return self._held[at]
        image = opened(self.paths[at], self.shape)
        if self.keep:
            self._held[at] = image
            self._known[at] = True
        return image

    def verify(self, at: int) -> None:
        """Read one's header.

        Raises:
            DataError: it is broken.
        """
        try:
            with Image.open(self.paths[at]) as image:
                image.verify()
        except BROKEN as error:
            raise _broken(self.paths[at], error) from error

    def all_of(self, rows: Tensor) -> Tensor | None:
        """Many at once, if all of them were decoded before."""
        return self._held[rows] if bool(self._known[rows].all()) else None


@dataclass(frozen=True)
class ImageBatches:
    """Batches of images.

    Attributes:
        generator: draws a new order in every pass if given.
        mixed: in a fixed order that mixes classes which lie one behind the other.
        threads: that decode; as many as there are cores if None.
    """

    images: Images
    reading: Reading
    scale: Scale
    generator: torch.Generator | None = None
    mixed: bool = False
    threads: int | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.images)

    def __iter__(self) -> Iterator[Batch]:
        return self.part(0, 1)

    def part(self, rank: int, count: int) -> Iterator[Batch]:
        """Every so many rows of each batch; only these are decoded."""
        threads = self.threads or os.cpu_count() or 1
        waiting: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
        pool = ThreadPoolExecutor(threads)
        size, generator = len(self.images), self.generator
        try:
            for batch in ordered(size, self.reading, generator, mixed=self.mixed):
                rows = batch[rank::count]
                known = self.images.all_of(rows) is not None
                todo = [] if known else rows.tolist()
                decoding = [pool.submit(self.images.__getitem__, at) for at in todo]
                waiting.append((rows, decoding))
                if len(waiting) > AHEAD:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, rows: Tensor, decoding: list[Future[Tensor]]) -> Batch:
        decoded = [one.result() for one in decoding]
        known = self.images.all_of(rows)
        x = torch.stack(decoded) if known is None else known
        return self.scale(as_float(x)), self.images.labels[rows]


def check_images(images: Images) -> None:
    """Look at every image: decoded where it is kept, else as far as its header.

    Raises:
        DataError: which file is broken.
    """
    look = images.__getitem__ if images.keep else images.verify
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in pool.map(look, range(len(images))):
            pass


def opened(path: str, shape: tuple[int, int, int]) -> Tensor:
    """One image, decoded and scaled to a shape.

    Raises:
        DataError: which file is broken.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            plain = _in_bytes(upright(image)).convert("RGB")
            converted = plain.convert("L" if channels == 1 else "RGB")
            scaled = converted.resize((width, height), Image.Resampling.BILINEAR)
    except BROKEN as error:
        raise _broken(path, error) from error
    pixels = torch.from_numpy(np.array(scaled))
    return pixels.reshape(height, width, channels).permute(2, 0, 1)


def _in_bytes(image: Image.Image) -> Image.Image:
    """Grey images of 16 bits in 8, over their whole range; Pillow would clip them.

    Raises:
        ValueError: it holds other numbers.
    """
    if image.mode == "F":
        raise ValueError("it holds real numbers: write it in 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > WORD:
        raise ValueError(f"its values are not those of 16 bits, 0 to {WORD}")
    return Image.fromarray((values * 255 / WORD).round().astype(np.uint8))


def _broken(path: str, error: BaseException) -> DataError:
    return DataError(f"Image {path} cannot be read: {error}.")


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of an input that images can be.

    Raises:
        DataError: they cannot.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise DataError(f"Images have 1 or 3 channels, --input asks for {channels}.")
    return channels, height, width


def upright(image: Image.Image) -> Image.Image:
    """An image as viewers show it, where a camera was turned (EXIF)."""
    return ImageOps.exif_transpose(image)


def fits(count: int, shape: tuple[int, ...]) -> bool:
    """Whether so many images are to be kept in memory."""
    return count * int(np.prod(shape)) <= MEMORY_SHARE * free_memory()
