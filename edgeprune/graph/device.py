"""The device that networks run on where nothing is timed: an accelerator, or the CPU.

Modules and data stay on the CPU, where files are written and channels are cut. What
takes long there is given copies on the device, and hands back results on the CPU.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from edgeprune.errors import ConfigError, first_line
from edgeprune.graph.model_copy import copied

CPU = torch.device("cpu")
AUTO = "auto"
Model = TypeVar("Model", bound=nn.Module)


def device_named(name: str) -> torch.device:
    """The device of a name; "auto" is the accelerator where there is one.

    Raises:
        ConfigError: there is none of that name.
    """
    if name == AUTO:
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or CPU
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"--device {name}: {first_line(error)}.") from error
    return device


def on_device(model: Model, device: torch.device) -> Model:
    """A copy on a device; the model itself where that is the CPU."""
    return model if device == CPU else copied(model).to(device)


def able(tensor: Tensor) -> Tensor:
    """The tensor, on the CPU where its device does not know float64."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor
