"""Networks, checkpoints, arrays and images that are refused."""

import decimal
import warnings
import zipfile

import numpy as np
import torch
from PIL import Image

NETS = """
import sys
import warnings

import torch
from torch import nn
from torch.utils.data import TensorDataset


def make():
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 4))


class Code(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()


class Nothing(Code):
    def forward(self, x):
        return self.net(x) * float("nan")


class Exits(Code):
    def forward(self, x):
        sys.exit(0)


class Fails(Code):
    def forward(self, x):
        raise ValueError("a bug of the user's")


class Pair(Code):
    def forward(self, x):
        return self.net(x), x


class TwoHeads(Code):
    def forward(self, x):
        return (self.net(x), x) if self.training else self.net(x)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.table(x).mean((1, 2, 3)))


def lazy():
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def meta():
    with torch.device("meta"):
        return make()


def scripted():
    warnings.simplefilter("ignore")
    return torch.jit.script(make())


def frozen():
    return make().requires_grad_(False)


def infinite():
    net = make()
    net[0].weight.data[0] = torch.inf
    return net


def exits():
    sys.exit(0)


def fails():
    raise KeyError("a bug of the user's")


def no_module():
    return "a network"


def parts(x=(3, 16, 16), classes=4, first=0, kind=torch.int64):
    y = torch.arange(40) % classes + first
    return TensorDataset(torch.randn(40, *x), y.to(kind))


def good():
    return [parts()] * 3


def negative():
    return [parts(), parts(first=-1), parts()]


def late_label():
    return [parts(), parts(), parts(first=5)]


def many_classes():
    return [parts(classes=9)] * 3


def one_class():
    return [parts(classes=1)] * 3


def real_labels():
    return [parts(kind=torch.float32)] * 3


def other_channels():
    return [parts(), parts(), parts((1, 16, 16))]


def other_size():
    return [parts(), parts((3, 15, 16)), parts()]


def not_finite():
    bad = parts()
    bad.tensors[0][-1] = torch.nan
    return [parts(), parts(), bad]


def words():
    return [[(torch.randn(3, 16, 16), "cat")] * 20] * 3


def ragged():
    return [[(torch.randn(3, 16 + at % 2, 16), at % 4) for at in range(20)]] * 3


def lists():
    return [[([1.0], 0)] * 20] * 3


def triples():
    return [[(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), 1)]] * 3


def one():
    return parts()


def four():
    return [parts()] * 4


def nothing():
    return None


def empty():
    return [[], [], []]


def empty_test():
    return [parts(), parts(), []]


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, at):
        if at > 30:
            raise OSError("a bug of the user's")
        return torch.randn(3, 16, 16), at % 4


def broken():
    return [parts(), parts(), Broken()]
"""
TOML = """
name = "bad"
description = "a target"
runner = "host"
runtime = {engine = "onnxruntime", provider = "CPUExecutionProvider", threads = 1}
"""
RECIPES = {
    "endless": "timing = {seconds = inf}",
    "many": "timing = {iterations = 1000000000000}",
    "negative": "timing = {rounds = -1}",
    "boolean": "timing = {rounds = true}",
    "unknown": "colour = 3",
    "broken": "timing = {",
    "deep": "a = " + "[" * 3000,
    "zero": "limits = {file_mb = 0}",
}


def made_weights(folder):
    """Checkpoints that hold no weights, or not those of the model."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    state, first = net.state_dict(), "0.weight"
    tensors = {
        "int_keys": {1: torch.zeros(3)},
        "sparse": {**state, first: state[first].to_sparse()},
        "on_meta": {first: torch.empty(8, 3, 3, 3, device="meta")},
        "other": {"a.weight": torch.zeros(3)},
        "no_tensors": {"epoch": 3},
        "a_list": [1, 2],
        "whole": net,
        "an_object": {"x": decimal.Context()},
        "nan": {**state, first: torch.full((8, 3, 3, 3), torch.nan)},
    }
    for name, content in tensors.items():
        torch.save(content, folder / f"{name}.pt")
    (folder / "text.pt").write_text("hello world\n")
    (folder / "empty.pt").write_text("")
    (folder / "text.safetensors").write_text("hello world\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still met
        torch.jit.script(net).save(folder / "script.pt")
    (folder / "no_run").mkdir()
    for name, plan in {"a_run": "{", "deep_run": "[" * 50_000, "old_run": "{}"}.items():
        (folder / name).mkdir()
        (folder / name / "plan.json").write_text(plan)


def made_arrays(folder):
    """Archives whose arrays are none, or no data set."""
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 3, 16, 16), np.float32), np.arange(40) % 4
    good = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    changed = {
        "scalar": {"x_train": np.float32(3)},
        "strings": {"x_train": x.astype(str)},
        "long": {"x_train": x.astype(np.longdouble)},
        "complex": {"x_train": x.astype(np.complex64)},
        "flat": {"x_train": x[:, 0, 0, 0]},
        "grey": {"x_train": x[:, :1]},
        "grey_test": {"x_test": x[:, :1]},
        "fewer": {"y_train": y[:-1]},
        "negative": {"y_test": y - 1},
        "real": {"y_train": y + 0.5},
        "one_hot": {"y_train": np.eye(4)[y]},
        "nan": {"x_train": np.where(x > 0.99, np.nan, x)},
        "one_class": {"y_train": y * 0},
        "many": {"y_train": y + 9},
        "none": {"x_train": x[:0], "y_train": y[:0]},
        "objects": {"y_train": np.array([{}] * 40, dtype=object)},
    }
    for name, change in changed.items():
        np.savez(folder / f"{name}.npz", **(good | change))
    np.savez(folder / "good.npz", **good)
    np.savez(folder / "lacking.npz", x_train=x, y_train=y, x_test=x)
    (folder / "text.npz").write_text("hello")
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:5000])
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40}, 9)}}\n"
    for name, head in {"huge": shape.encode(), "nested": b"(" * 8999 + b"\n"}.items():
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as file:
            length = len(head).to_bytes(2, "little")
            file.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + length + head)
    with zipfile.ZipFile(folder / "bytes.npz", "w") as file:
        file.writestr("x_train.npy", b"hello")
    bomb = folder / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x_train.npy", b"\0" * 10_000)
    content = bytearray(bomb.read_bytes())  # says that it unpacks to 4 GB times 64
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = b"\xfe\xff\xff\xff"
    bomb.write_bytes(content)


def made_images(folder):
    """Folders of images that are none."""
    picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    for name in ("images", "cut_images", "text_images", "looped", "shared", "split"):
        for label in "ab":
            place = folder / name / ("train" if name == "split" else "") / label
            place.mkdir(parents=True)
            for number in range(8):
                picture.save(place / f"{number}.png")
    last = folder / "cut_images" / "b" / "7.png"
    last.write_bytes(last.read_bytes()[:40])
    (folder / "text_images" / "b" / "7.png").write_text("hello")
    (folder / "looped" / "b" / "again").symlink_to("..")
    (folder / "shared" / "b" / "others").symlink_to("../a")
    (folder / "split" / "test" / "c").mkdir(parents=True)
    picture.save(folder / "split" / "test" / "c" / "0.png")
    (folder / "bare").mkdir()
    (folder / "hollow" / "a").mkdir(parents=True)
