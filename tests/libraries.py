"""Networks of torchvision and timm with random weights, and what they are given."""

import inspect
from typing import Any

import torch
import torchvision
from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import CONVOLUTIONS
from edgeprune.graph.trace import Inputs

SMALL = (64, 96, 128, 224)  # sides of images, to be tried in turn


def task_of(name: str) -> str:
    """What a network is for, after the package that it is in."""
    if name.startswith("timm/"):
        return "timm"
    module = torchvision.models.get_model_builder(name).__module__
    parts = module.removeprefix("torchvision.models.").split(".")
    return parts[0] if len(parts) > 1 else "classification"


def build(name: str) -> nn.Module:
    """A network with random weights and statistics in evaluation mode."""
    torch.manual_seed(0)
    if name.startswith("timm/"):
        import timm

        return timm.create_model(name.removeprefix("timm/"), pretrained=False).eval()
    accepted = inspect.signature(torchvision.models.get_model_builder(name)).parameters
    options: dict[str, Any] = {"weights": None}
    options |= {"weights_backbone": None} if "weights_backbone" in accepted else {}
    if "GoogLeNet" in str(accepted) or "Inception" in str(accepted):
        # Slow, and disturbed afterwards anyway; heads for training, as edgeprune leaves
        # them out.
        options |= {"init_weights": False, "aux_logits": False}
    return torchvision.models.get_model(name, **options).eval()


def inputs_for(name: str, model: nn.Module, sizes: tuple[int, ...]) -> Inputs:
    """The first of some input sizes that a network runs on."""
    task = task_of(name)
    torch.manual_seed(1)
    if task == "detection":
        return ([torch.rand(3, 320, 320)],)
    if task == "optical_flow":
        return (torch.rand(1, 3, 128, 128),) * 2
    frames = (16,) if task == "video" else ()
    shapes = [(1, 3, *frames, size, size) for size in sizes]
    if task == "timm":
        own = model.pretrained_cfg.get("input_size", (3, 224, 224))
        shapes = [(1, *own)]
    for shape in shapes:
        x = torch.rand(shape)
        try:
            with torch.no_grad():
                model(x)
        except Exception:  # noqa: BLE001  a network says so in its own way
            continue
        return (x,)
    raise ValueError(f"{name} runs on none of {shapes}")


def prunable_channels(model: nn.Module, graph: ChannelGraph) -> int:
    """Output channels that can go, of every layer by itself."""
    layers = counted_layers(model)
    return sum(
        int((member.channel_of >= 0).sum())
        for group in graph.groups
        for member in group.members
        if member.role == "output" and member.parameter in layers
    )


def counted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by the path of their weight.

    The projections inside torch's own attention are no layers to Torch-Pruning.
    """
    hidden = nn.modules.linear.NonDynamicallyQuantizableLinear
    return {
        f"{path}.weight": module
        for path, module in model.named_modules()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
        and not isinstance(module, hidden)
    }
