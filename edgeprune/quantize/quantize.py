"""Static int8 quantisation of an ONNX file in QDQ form, calibrated on training data.

Where the int8 file is the one that counts, every attempt of the planner is timed in
int8, with a few samples: only its speed matters then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from edgeprune.errors import ExportError, first_line
from edgeprune.files import write_whole
from edgeprune.graph.forward import quiet
from edgeprune.onnx_files.feeds import feeds_of, inputs_of
from edgeprune.onnx_files.metadata import describe_, description_of
from edgeprune.onnx_files.portable import make_portable_
from edgeprune.quantize.fitted import fit_layers
from edgeprune.quantize.form import AS_USUAL, Int8Form
from edgeprune.quantize.forms import masked_nodes, rewrite_for_int8_
from edgeprune.quantize.qdq import (
    correct_biases_,
    in_int8,
    tensors_of,
)
from edgeprune.quantize.ranges import (
    CPU,
    Feeds,
    Floats,
    Range,
    Seen,
    observe,
    quiet_options,
)
from edgeprune.temporary import temporary_folder

SAMPLES = 128  # that ranges of activations are taken from
GLITCH = 8.0  # times the largest value of the median sample: of another scale
GLITCHES = 0.05  # of all samples; more are no glitches
FEW = 8  # where only the file's speed matters
JUDGED = 32  # runs on which candidates are compared
FITTED = 64  # runs that layers are fitted on, others than those
SHORT = 0.1  # an error of the outputs, relative to them, that may move answers
BETTER = 0.98  # of the error of the usual form: less is not worth leaving it
Weigh = Callable[[Tensor], Tensor | None]  # see `Task.weights`


@dataclass(frozen=True)
class Candidate:
    """A way to quantise a network.

    Attributes:
        ranges: of its tensors.
        corrected: biases take up what rounding weights adds.
    """

    ranges: Mapping[str, Range]
    corrected: bool = False


@dataclass(frozen=True)
class FloatNetwork:
    """A float network that is to be quantised, and samples for it.

    Attributes:
        proto: rewritten in forms that have int8 kernels, with the shapes of its values.
        feeds: the samples, in batches of the size that the file takes.
        folder: where files may be written.
        facts: what the float file says of itself.
        weigh: how much each number of a single output counts.
    """

    proto: onnx.ModelProto
    feeds: list[Feeds]
    folder: Path
    facts: Mapping[str, str]
    weigh: Weigh | None = None

    @classmethod
    def of(
        cls,
        source: Path,
        batches: Iterable[tuple[Tensor, Tensor]],
        samples: int,
        folder: Path,
        weigh: Weigh | None = None,
    ) -> FloatNetwork:
        """Prepare a file."""
        proto = _prepared(source, folder)
        rewrite_for_int8_(proto)
        proto = onnx.shape_inference.infer_shapes(proto)
        facts = description_of(onnx.load(source, load_external_data=False))
        return cls(proto, _feeds(proto, batches, samples), folder, facts, weigh)

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """What each tensor is like on the samples."""
        return observe(self.proto, tensors_of(self.proto), self.feeds, self.folder)

    @cached_property
    def plain(self) -> Candidate:
        """Ranges that leave nothing out."""
        return Candidate({name: seen.whole for name, seen in self.seen.items()})

    @cached_property
    def masked(self) -> tuple[str, ...]:
        """Nodes that no form of int8 computes as they are."""
        return tuple(masked_nodes(self.proto.graph))

    @cached_property
    def outputs(self) -> list[Floats]:
        """What it makes of the samples by which candidates are judged."""
        return self._run(self.proto)

    @cached_property
    def weights(self) -> list[Floats]:
        """How much each number of these outputs counts."""
        one = np.ones((), np.float32)
        if self.weigh is None or len(self.proto.graph.output) > 1:
            return [one] * len(self.outputs)
        held = [self.weigh(torch.from_numpy(found)) for found in self.outputs]
        return [one if found is None else found.numpy() for found in held]

    def best(self, form: Int8Form) -> Candidate:
        """The candidate whose outputs are nearest to the float network's.

        Another than the plain one only where it is clearly nearer.
        """
        closest = {name: seen.closest() for name, seen in self.seen.items()}
        whole = self.plain.ranges
        found = self.plain
        least = BETTER * self.error(self.quantized(form, found))
        for other in (
            Candidate(closest),
            Candidate(whole, corrected=True),
            Candidate(closest, corrected=True),
        ):
            error = self.error(self.quantized(form, other))
            if error < least:
                found, least = other, error
        return found

    def quantized(self, form: Int8Form, how: Candidate) -> onnx.ModelProto:
        """The network in int8."""
        form = replace(form, in_float=(*form.in_float, *self.masked))
        proto = self.proto
        if how.corrected:
            proto = onnx.ModelProto()
            proto.CopyFrom(self.proto)
            correct_biases_(proto, self.seen, form)
        return in_int8(proto, how.ranges, form)

    def delivered(self, form: Int8Form, how: Candidate) -> onnx.ModelProto:
        """The network in int8, as a device gets it."""
        proto = self.quantized(form, how)
        make_portable_(proto)
        describe_(proto, self.facts)
        return proto

    def improved(self, proto: onnx.ModelProto, form: Int8Form) -> onnx.ModelProto:
        """The same int8 network with its layers fitted, where it falls short as it is.

        Args:
            proto: the network in that form.
        """
        error = self.error(proto)
        if error < SHORT:
            return proto
        feeds = self.feeds[JUDGED : JUDGED + FITTED] or self.feeds
        found = fit_layers(proto, self.proto, feeds, form, self.folder)
        return found if self.error(found) < BETTER * error else proto

    def error(self, proto: onnx.ModelProto) -> float:
        """By how much another form's outputs are off, relative to what they are.

        Of several outputs, which may be of different scales, the mean of squares.
        """
        count = len(self.proto.graph.output)
        off, whole = np.zeros(count), np.zeros(count)
        made = zip(self.outputs, self._run(proto), self.weights, strict=True)
        for at, (one, other, weight) in enumerate(made):
            off[at % count] += np.square(weight * (one - other), dtype=np.float64).sum()
            whole[at % count] += np.square(weight * one, dtype=np.float64).sum()
        some = whole > 0
        return math.sqrt(np.mean(off[some] / whole[some])) if some.any() else 0.0

    def _run(self, proto: onnx.ModelProto) -> list[Floats]:
        path = self.folder / "judged.onnx"
        onnx.save(proto, path)
        session = ort.InferenceSession(str(path), quiet_options(), [CPU])
        return [
            np.asarray(found, np.float32)
            for fed in self.feeds[:JUDGED]
            for found in session.run(None, dict(fed))
        ]


def quantize(
    source: Path,
    target: Path,
    batches: Iterable[tuple[Tensor, Tensor]],
    samples: int = SAMPLES,
    *,
    form: Int8Form = AS_USUAL,
    weigh: Weigh | None = None,
) -> None:
    """Write an int8 version of an ONNX file: weights per channel, static activations.

    Args:
        samples: of the batches, that the ranges of activations are taken from. From a
            few, the file is only to be timed.
        weigh: how much each number of a single output counts; all alike by default.

    Raises:
        ExportError: ONNX Runtime refuses.
    """
    with temporary_folder() as folder, quiet(), refusing(source):
        network = FloatNetwork.of(source, batches, samples, folder, weigh)
        how = network.best(form) if samples > FEW else network.plain
        proto = network.delivered(form, how)
        if samples > FEW:
            proto = network.improved(proto, form)
        content = proto.SerializeToString()
    write_whole(target, content)


@contextmanager
def refusing(source: Path) -> Iterator[None]:
    """Say of which file it is that something cannot be done with it.

    Raises:
        ExportError: it cannot be.
    """
    try:
        yield
    except Exception as error:
        message = f"{source.name} cannot be quantised: {first_line(error)}."
        raise ExportError(message) from error


def _prepared(source: Path, folder: Path) -> onnx.ModelProto:
    """A file as ONNX Runtime prepares it, without symbolic shapes where they fail.

    They do behind operators that it does not know, such as STFT.
    """
    prepared = folder / "prepared.onnx"
    try:
        quant_pre_process(str(source), str(prepared))
    except Exception:  # noqa: BLE001  of any kind
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    return onnx.load(prepared)


def _feeds(
    proto: onnx.ModelProto, batches: Iterable[tuple[Tensor, Tensor]], samples: int
) -> list[Feeds]:
    """The first samples, in batches of the size that a file takes."""
    options = quiet_options()
    session = ort.InferenceSession(proto.SerializeToString(), options, [CPU])
    given, length = inputs_of(session), session.get_inputs()[0].shape[0]
    batch = length if isinstance(length, int) else 1
    held = _first_samples(batches, samples)
    count = max(batch, len(held) // batch * batch)
    held = np.resize(held, (count, *held.shape[1:]))
    return [
        feeds_of(given, held[start : start + batch]) for start in range(0, count, batch)
    ]


def _first_samples(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> Floats:
    """Inputs of the first samples, shape (count, ...), but for glitches.

    A raw image among normalised ones would make every step of all ranges as many times
    as wide as its values are larger.
    """
    held: list[Any] = []
    for x, _ in batches:
        held.append(x.numpy().astype(np.float32))
        if sum(len(part) for part in held) >= count:
            break
    samples = np.concatenate(held)[:count]
    largest = np.abs(samples).reshape(len(samples), -1).max(1)
    usual = largest <= GLITCH * np.median(largest)
    return samples[usual] if usual.mean() > 1 - GLITCHES else samples
