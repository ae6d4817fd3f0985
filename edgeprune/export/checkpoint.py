"""The compressed PyTorch module on disk, and back in a process that never saw the run.

`plan.json` says what was changed in the module that the user's factory makes,
`model.safetensors` holds its weights. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import fx, nn

from edgeprune.errors import ExportError, WorkloadError, first_line
from edgeprune.graph.data_access import DataAsOperators
from edgeprune.graph.forward import evaluating, quiet
from edgeprune.graph.surgery import apply_surgery_
from edgeprune.graph.trace import Inputs
from edgeprune.records import Plan, Surgery, from_json, to_json
from edgeprune.workload import load_library_model, load_model, load_weights_

PLAN_FILE, WEIGHTS_FILE, PROGRAM_FILE = "plan.json", "model.safetensors", "model.pt2"
SCHEMA = 1
Factory = Callable[[], nn.Module] | nn.Module | str


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """The content of `plan.json`.

    Attributes:
        surgery: from the factory's module to the saved one, all rounds and earlier
            compressions together.
        plans: the rounds of this run, by group.
    """

    schema_version: int
    model: str
    num_classes: int | None
    surgery: Surgery
    plans: tuple[Plan, ...]


def checkpoint_files(model: nn.Module, saved: SavedPlan) -> dict[str, bytes]:
    """The files that rebuild a module, by name."""
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    return {
        WEIGHTS_FILE: save({key: value.contiguous() for key, value in tensors.items()}),
        PLAN_FILE: to_json(saved, indent=None).encode(),
    }


def exported_program(model: nn.Module, inputs: Inputs) -> bytes:
    """The module as a `.pt2` archive of torch.export.

    Raises:
        ExportError: torch.export refuses it.
    """
    buffer = io.BytesIO()
    try:
        with evaluating(model), quiet(), DataAsOperators():
            program = torch.export.export(model, inputs)
            for module in program.graph_module.modules():
                if isinstance(module, fx.GraphModule):
                    for node in module.graph.nodes:
                        node.meta.pop("stack_trace", None)  # paths, lines of source
            torch.export.save(program, buffer)
    except Exception as error:
        message = f"{type(model).__name__} cannot be written as {PROGRAM_FILE}"
        raise ExportError(f"{message}: {first_line(error)}.") from error
    return buffer.getvalue()


def load(run: str | Path, factory: Factory | None = None) -> nn.Module:
    """The compressed module of a run, in evaluation mode.

    Args:
        run: the run's folder.
        factory: makes the module that was compressed, with any weights; a module that
            may be changed; or a description as for `--model`. A model of torchvision or
            timm needs none.

    Raises:
        EdgepruneError: files are missing or damaged, or the factory makes another
            network than the one that was compressed.

    Example:
        >>> import edgeprune
        >>> from examples.nets import make_net
        >>> model = edgeprune.load("runs/first", make_net)
        >>> sizes = [sum(map(len, net.parameters())) for net in (model, make_net())]
        >>> model.training, sizes[0] <= sizes[1]
        (False, True)
    """
    saved = read_plan(run)
    model = _made(saved, factory)
    restore_(model, run)
    return model.eval()


def read_plan(run: str | Path) -> SavedPlan:
    """Read what a run changed.

    Raises:
        WorkloadError: no such file, or not one of this program's.
    """
    path = Path(run) / PLAN_FILE
    try:
        text = path.read_bytes()
        schema = json.loads(text).get("schema_version")
        if schema != SCHEMA:
            message = f"{str(path)!r} has schema {schema}, this version reads {SCHEMA}."
            raise WorkloadError(message)
        return from_json(SavedPlan, text)
    except OSError as error:
        message = f"{str(run)!r} is not an edgeprune run folder: it has no {PLAN_FILE}."
        raise WorkloadError(message) from error
    except (ValidationError, ValueError, AttributeError, RecursionError) as error:
        raise WorkloadError(
            f"{str(path)!r} is damaged: {first_line(error)}."
        ) from error


def restore_(model: nn.Module, run: str | Path) -> Surgery:
    """Bring a factory's module to what a run made of it; what was changed.

    Raises:
        EdgepruneError: see `load`.
    """
    surgery = read_plan(run).surgery
    apply_surgery_(model, surgery)
    load_weights_(model, Path(run) / WEIGHTS_FILE)
    return surgery


def saved_plan(
    model: str, num_classes: int | None, surgery: Surgery, plans: Sequence[Plan]
) -> SavedPlan:
    """Collect the content of `plan.json`."""
    return SavedPlan(SCHEMA, model, num_classes, surgery, tuple(plans))


def _made(saved: SavedPlan, factory: Factory | None) -> nn.Module:
    """The module that was compressed; code that only the file names is not run."""
    if factory is None:
        model = load_library_model(saved.model, num_classes=saved.num_classes)
        if model is not None:
            return model
        if saved.model.endswith(".onnx"):
            message = f"The run compressed {saved.model!r}: give that file"
            raise WorkloadError(f"{message}, as load(run, {saved.model!r}).")
        raise WorkloadError(
            f"The run compressed {saved.model!r}, which is no model of torchvision or "
            "timm: give the factory that makes it, as load(run, factory); code that a "
            "file names is not run."
        )
    if isinstance(factory, str):
        return load_model(factory, num_classes=saved.num_classes, seed=0)
    return factory if isinstance(factory, nn.Module) else factory()
