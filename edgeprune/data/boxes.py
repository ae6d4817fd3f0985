"""Folders of images with boxes: text files as YOLO has them, or COCO's JSON.

YOLO: `images/` beside `labels/`, each image with a text of the same name, a box a line:
class, middle, width and height as shares of the image. In one folder, in `train/`,
`val/` (or `valid/`) and `test/`, or these inside of `images/` and `labels/`. COCO: a
JSON beside `images/`, `_annotations.coco.json` in `train/`, `val/`, `test/`, or
`annotations/instances_train*.json` beside `train*/`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeprune.data.augment import PHOTOS
from edgeprune.data.images import BROKEN, image_shape, upright
from edgeprune.data.labels import joined
from edgeprune.data.paired import IMAGES, MASKS, TARGETS, pictures, scale_note, stacked
from edgeprune.data.parts import WHOLE, part_folders, three
from edgeprune.data.splits import Arrays, Reading, Splits, array_splits
from edgeprune.errors import DataError, first_line

LABELS = "labels"
COLUMNS = 5  # of a row: class, x1, y1, x2, y2; of a line of YOLO, too
NOTHING = -1.0  # the class of rows that only fill up
Rows = NDArray[np.floating[Any]]
Held = tuple[Any, Any]  # images (N, C, H, W) and rows (N, boxes, 5)


@dataclass(frozen=True)
class Source:
    """Images, and where their boxes stand.

    Attributes:
        boxes: a folder of texts, or a JSON file.
    """

    images: Path
    boxes: Path


def is_boxes(root: Path) -> bool:
    """Whether a folder holds images with boxes."""
    return bool(_sources(root))


def load(source: str, reading: Reading, input_shape: tuple[int, ...]) -> Splits:
    """Images resized to the input's height and width, and boxes with them.

    Classes are the numbers of the text files, or COCO's ids of categories.

    Raises:
        DataError: an image without its boxes, a broken file, or too many to be kept.
    """
    shape = image_shape(input_shape)
    held = {part: _read(one, shape) for part, one in _sources(Path(source)).items()}
    train, test, validation, note = three(source, held)
    most = max(part[1].shape[1] for part in (train, test, validation))
    parts = [
        part for x, y in (train, test, validation) for part in (x, _filled(y, most))
    ]
    note = joined(note, scale_note(reading))
    arrays = Arrays(source, *parts, note=note, safe_augmentations=PHOTOS)
    return array_splits(arrays, reading)


def _sources(root: Path) -> dict[str, Source]:
    """What stands in a folder, by part; under `WHOLE` where it is not split."""
    if (root / IMAGES).is_dir() and (root / LABELS).is_dir():
        inside = {
            part: Source(root / IMAGES / name, root / LABELS / name)
            for part, name in part_folders(root / IMAGES)
            if (root / LABELS / name).is_dir()
        }
        return inside or {WHOLE: Source(root / IMAGES, root / LABELS)}
    files = sorted(root.glob("*.json")) if (root / IMAGES).is_dir() else []
    if len(files) == 1:
        return {WHOLE: Source(root / IMAGES, files[0])}
    if files and not any((root / name).is_dir() for name in (MASKS, TARGETS)):
        names = ", ".join(path.name for path in files)
        message = f"{root} has several JSON files ({names}): leave the one with the"
        raise DataError(f"{message} boxes of {IMAGES}/ there.")
    found: dict[str, Source] = {}
    for part, name in part_folders(root):
        folder = root / name
        described = [*folder.glob("*.coco.json")]
        described += (root / "annotations").glob(f"instances_{name}*.json")
        if (folder / IMAGES).is_dir() and (folder / LABELS).is_dir():
            found[part] = Source(folder / IMAGES, folder / LABELS)
        elif described:
            images = folder / IMAGES if (folder / IMAGES).is_dir() else folder
            found[part] = Source(images, described[0])
    return found


def _read(source: Source, shape: tuple[int, int, int]) -> Held:
    """All images, and their boxes in pixels of the input."""
    listed = source.boxes.is_file()
    known, sizes = _of_json(source.boxes) if listed else (_of_texts(source), {})
    if not known and listed:
        raise DataError(f"{source.boxes} names no images.")
    if not known:
        raise DataError(f"{source.images} has no image.")
    if not any(map(len, known.values())):
        raise DataError(f"{source.boxes} has a box for none of {len(known)} images.")
    paths = [source.images / name for name in known]
    for path in paths:
        if not path.is_file():
            inside = path.is_relative_to(source.images)
            name = path.relative_to(source.images) if inside else path
            message = f"{source.boxes} names {name}"
            raise DataError(f"{message}, which {source.images} lacks.")
    x = stacked(source.images, paths, shape)
    for path, (name, rows) in zip(paths, known.items(), strict=True):
        if len(rows) and listed:
            rows[:, 1:] /= np.tile(sizes.get(name) or _size(path), 2)
        rows[:, 1:] *= np.tile([shape[2], shape[1]], 2)
    most = max(1, *map(len, known.values()))
    y = np.stack([_filled(rows[None], most)[0] for rows in known.values()])
    return x, y


def _of_texts(source: Source) -> dict[str, Rows]:
    """Rows of each image of a folder, in shares of it; one without a text has none."""
    names = [path.name for path in pictures(source.images)]
    found: dict[str, Rows] = {}
    for name in names:
        path = source.boxes / f"{Path(name).stem}.txt"
        found[name] = _of_text(path) if path.is_file() else np.zeros((0, COLUMNS))
    return found


def _of_text(path: Path) -> Rows:
    try:
        text = path.read_text(encoding="utf-8-sig")  # as some systems write it
        lines = [line.split() for line in text.splitlines() if line.strip()]
        rows = [[float(word) for word in line] for line in lines]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}.") from error
    for line, row in zip(lines, rows, strict=True):
        if (
            len(row) != COLUMNS
            or min(row) < 0
            or max(row[1:]) > 1.001
            or not row[0].is_integer()
        ):
            message = f"{path} must have lines of class, middle, width and height as"
            raise DataError(f"{message} shares of the image, found {' '.join(line)!r}.")
    if not rows:
        return np.zeros((0, COLUMNS))
    held = np.array(rows)
    middle, half = held[:, 1:3], held[:, 3:] / 2
    return np.concatenate([held[:, :1], middle - half, middle + half], 1)


def _of_json(path: Path) -> tuple[dict[str, Rows], dict[str, tuple[float, float]]]:
    """Rows of each image that a file names, in pixels of the size that it tells."""
    try:
        held = json.loads(path.read_text())
        return _rows_of(held), _sizes_of(held)
    except (OSError, ValueError, KeyError, TypeError) as error:
        lacks = "it lacks " if isinstance(error, KeyError) else ""
        message = f"{path} is no file of COCO's form: {lacks}{first_line(error)}."
        raise DataError(message) from error


def _rows_of(held: Any) -> dict[str, Rows]:
    """Rows by the names of images.

    Raises:
        ValueError: an image is listed twice, or not at all.
    """
    names = {item["id"]: str(item["file_name"]) for item in held["images"]}
    if len(set(names.values())) < len(held["images"]):
        raise ValueError("it lists an image twice")
    rows: dict[Any, list[list[float]]] = {key: [] for key in names}
    for item in held["annotations"]:
        left, top, width, height = map(float, item["bbox"])
        if min(width, height) < 0:
            raise ValueError(f"the box {item['bbox']} has a size below 0")
        if item["image_id"] not in rows:
            message = f"a box is of image {item['image_id']}, which it does not list"
            raise ValueError(message)
        if not item.get("iscrowd"):
            box = [left, top, left + width, top + height]
            rows[item["image_id"]].append([float(item["category_id"]), *box])
    return {
        names[key]: np.array(found, dtype=np.float64).reshape(-1, COLUMNS)
        for key, found in rows.items()
    }


def _sizes_of(held: Any) -> dict[str, tuple[float, float]]:
    """Widths and heights that boxes were drawn on, where they are told.

    Raises:
        ValueError: one is no size.
    """
    found: dict[str, tuple[float, float]] = {}
    for item in held["images"]:
        if item.get("width") is None or item.get("height") is None:
            continue
        size = float(item["width"]), float(item["height"])
        if min(size) <= 0:
            raise ValueError(
                f"{item['file_name']} has a size of {size[0]:g}x{size[1]:g}"
            )
        found[str(item["file_name"])] = size
    return found


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    try:
        with Image.open(path) as image:
            return upright(image).size
    except BROKEN as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}.") from error


def _filled(rows: Any, count: int) -> Any:
    """Rows (N, boxes, 5) with as many of each image."""
    missing = np.zeros((len(rows), count - rows.shape[1], COLUMNS), dtype=np.float32)
    missing[..., 0] = NOTHING
    return np.concatenate([rows.astype(np.float32), missing], 1)
