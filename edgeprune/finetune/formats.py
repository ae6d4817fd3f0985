"""Which number format and memory layout train fastest here? Time a few steps and see.

bfloat16 with channels last wins four times on a wide network and loses twice on a
narrow one, on the same CPU: it cannot be known beforehand.
"""

from __future__ import annotations

import json
import platform
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.files import cached
from edgeprune.graph.device import CPU
from edgeprune.graph.model_copy import copied

TIMED_STEPS = 3
IMAGE_DIMS = 4


@dataclass(frozen=True)
class Format:
    """A number format and a memory layout."""

    number: str
    memory: str

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model, its weights laid out this way."""
        layout = torch.channels_last if self._last else torch.contiguous_format
        return model.to(memory_format=layout)  # type: ignore[call-overload]

    def running(self, device: torch.device = CPU) -> AbstractContextManager[object]:
        """Inside, matrix products run in this number format."""
        if self.number == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=getattr(torch, self.number))

    def lay_out(self, x: Tensor) -> Tensor:
        """One batch of inputs."""
        if self._last and x.ndim == IMAGE_DIMS:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    @property
    def _last(self) -> bool:
        return self.memory == "channels_last"


PLAIN = Format("float32", "contiguous")
CANDIDATES = (
    PLAIN,
    Format("float32", "channels_last"),
    Format("bfloat16", "channels_last"),
)


def fastest_format(
    model: nn.Module, batch: tuple[Tensor, Tensor], device: torch.device = CPU
) -> Format:
    """The format that was found fastest when such a model was first trained here."""
    facts = _facts(model, batch, device)
    return cached(
        "format",
        facts,
        lambda: measured_format(model, batch, device),
        Format,
        CANDIDATES.__contains__,
    )


def _facts(model: nn.Module, batch: tuple[Tensor, Tensor], device: torch.device) -> str:
    """List everything that the time of a training step depends on."""
    shapes = [(name, tuple(held.shape)) for name, held in model.state_dict().items()]
    here = [platform.node(), device.type, torch.get_num_threads(), torch.__version__]
    return json.dumps([shapes, tuple(batch[0].shape), here])


def measured_format(
    model: nn.Module, batch: tuple[Tensor, Tensor], device: torch.device = CPU
) -> Format:
    """The candidate with the fastest training step on this batch.

    One that the model does not run in is out: a `view` in the user's code may not bear
    channels last, an operator may lack bfloat16.
    """
    if batch[0].ndim != IMAGE_DIMS:
        return PLAIN
    seconds = {PLAIN: _step_seconds(model, batch, PLAIN, device)}
    for form in CANDIDATES[1:]:
        with suppress(RuntimeError, AssertionError):  # or the device no autocast
            seconds[form] = _step_seconds(model, batch, form, device)
    return min(seconds, key=lambda form: seconds[form])


def _step_seconds(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    form: Format,
    device: torch.device,
) -> float:
    """Fastest of a few training steps, after one that does not count."""
    network = form.prepare(copied(model)).to(device).train()
    x = form.lay_out(batch[0]).to(device)
    seconds = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        with form.running(device):
            outputs = network(x)
        loss = outputs.float().square().mean()  # of whatever task: it takes no time
        loss.backward()
        float(loss.detach())  # waits for all that a device has still to do
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
