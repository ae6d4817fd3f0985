"""A model as a flat graph of ATen operators, with the paths of its parameters.

The model runs once on tensors without data. Parameters and buffers are inputs of the
graph, so that the same code can be run again with smaller ones. A model whose own code
looks at values runs on its real data instead.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.func import functional_call

from edgeprune.errors import TraceError, first_line
from edgeprune.graph.forward import evaluating, quiet, untouched
from edgeprune.graph.provenance import SOURCE, ProvenanceTracer, Visit, is_torch
from edgeprune.graph.recorder import Recorder
from edgeprune.graph.sizes import Comparisons
from edgeprune.graph.torch_private import (
    FakeTensorMode,
    inside_of,
    is_compiled,
    python_dispatcher,
    tree_flatten,
    tree_map_only,
    tree_unflatten,
)

Inputs = tuple[Any, ...]  # tensors, or lists, tuples and dicts of them
Cuts = Mapping[str, Mapping[int, NDArray[np.int64]]]  # path, axis: the indices kept

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Trace:
    """One run of a model, recorded.

    Attributes:
        graph: every operator with the shape of its result, its line in the user's
            code and the origins of the sizes that were given to it.
        owners: for each placeholder that is a parameter or buffer, its dotted path.
        parameters: the paths among them that are parameters.
        visits: for each module that could be left out, its calls.
        comparisons: which sizes the code found to be equal.
        constants: the lines that make tensors of numbers, and the numbers.
        by_value: the code looks at values, so another input may take another way.
        before: what modules held, before the run, in attributes that it changed, by
            module and name; MISSING where it made them. A model that keeps what it
            worked out, such as anchors, takes another way in the next run.
    """

    graph: fx.Graph
    owners: dict[str, str]
    parameters: frozenset[str]
    visits: dict[str, list[Visit]]
    comparisons: Comparisons
    constants: list[tuple[str, str]]
    by_value: bool
    before: Mapping[tuple[str, str], Any]

    @property
    def nodes(self) -> Iterator[fx.Node]:
        """The operators in the order in which they run."""
        return iter(self.graph.nodes)

    def structure(self) -> str:
        """Describe what the time depends on: operators, connections and shapes."""
        return repr(
            [
                (
                    self.owners.get(node.name, node.name),
                    str(node.target),
                    node.args,
                    node.kwargs,
                    _shapes(node.meta.get("val")),
                )
                for node in self.nodes
            ]
        )

    @property
    def read(self) -> frozenset[str]:
        """The parameters and buffers that some operator reads."""
        return frozenset(
            self.owners[node.name]
            for node in self.nodes
            if node.name in self.owners and node.users
        )


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by path; a tied one under its first path."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def sliced(tensor: Tensor, cuts: Mapping[int, NDArray[np.int64]]) -> Tensor:
    """The kept indices of a tensor along some axes."""
    for axis, indices in cuts.items():
        tensor = tensor.index_select(axis, torch.as_tensor(indices).to(tensor.device))
    return tensor


def trace(model: nn.Module, inputs: Inputs) -> Trace:
    """Record one run of a model in evaluation mode.

    Raises:
        TraceError: the model does not run on these inputs, or other code than its
            own would run.
    """
    _refuse_wrapped(model)
    try:
        return _recorded(model, inputs, {}, by_value=False)
    except Exception:  # noqa: BLE001  whatever the user's forward raises
        pass  # perhaps it looks at values
    try:
        return _recorded(model, inputs, {}, by_value=True)
    except Exception as error:
        raise TraceError(_refusal(model, inputs, error)) from error


def _refuse_wrapped(model: nn.Module) -> None:
    """Refuse modules that are compiled or scripted, whose code cannot be followed.

    Raises:
        TraceError: which one, and what to give instead.
    """
    for name, module in model.named_modules():
        what = f"{name or type(model).__name__}"
        if is_compiled(module):
            message = f"{what} is compiled: give the module as it was before"
            raise TraceError(f"{message} torch.compile (model._orig_mod).")
        if isinstance(module, torch.jit.ScriptModule):
            message = f"{what} is TorchScript, whose code cannot be followed"
            raise TraceError(f"{message}: give the module that was scripted.")
        if inside_of(module) is not module:
            message = f"{what} is spread over devices by {type(module).__name__}"
            raise TraceError(f"{message}: give its `module`.")


def retrace(
    model: nn.Module,
    inputs: Inputs,
    cuts: Cuts,
    *,
    by_value: bool,
    training: bool = False,
) -> Trace:
    """Record another run of a model that was traced, changed or with smaller weights.

    Args:
        cuts: what is kept of parameters and buffers in this run; the model itself
            stays as it is.
        by_value: as the first trace was.
        training: record it in training mode.

    Raises:
        TraceError: it does not run, with the line of the user's code.
    """
    try:
        return _recorded(model, inputs, cuts, by_value=by_value, training=training)
    except Exception as error:
        raise TraceError(pruned_failure(error, training=training)) from error


def pruned_failure(error: Exception, *, training: bool = False) -> str:
    """One sentence on a pruned model that does not run, with the user's line."""
    line = failing_line(error)
    place = f" at {line}" if line else ""
    verb = "run in training mode" if training else "run"
    return f"The pruned model does not {verb}: {first_line(error)}{place}."


def _recorded(
    model: nn.Module,
    inputs: Inputs,
    cuts: Cuts,
    *,
    by_value: bool,
    training: bool = False,
) -> Trace:
    state = state_of(model)
    leaves, structure = tree_flatten(inputs)
    fakes = None if by_value else FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder()
    watch = ProvenanceTracer(model, recorder)
    with (
        untouched(model, training=training) as before,
        quiet(),
        torch.no_grad(),
        python_dispatcher(),
        fakes or nullcontext(),
    ):
        weights = [
            _weight(tensor, cuts.get(path, {}), fake=not by_value)
            for path, tensor in state.items()
        ]
        if fakes is not None:
            leaves = tree_map_only(Tensor, fakes.from_tensor, leaves)
        owners = {
            recorder.placeholder(weight).name: path
            for path, weight in zip(state, weights, strict=True)
        }
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                recorder.placeholder(leaf)
        arguments = tree_unflatten(leaves, structure)
        named = dict(zip(state, weights, strict=True))
        with recorder, watch:
            results = list(tensors_in(functional_call(model, named, arguments)))
        recorder.output(results)
    return Trace(
        graph=recorder.graph,
        owners=owners,
        parameters=frozenset(name for name, _ in model.named_parameters()),
        visits=watch.visits,
        comparisons=watch.comparisons,
        constants=[(_shown(frame), numbers) for frame, numbers in watch.constants],
        by_value=by_value,
        before=before,
    )


def _weight(
    tensor: Tensor, cuts: Mapping[int, NDArray[np.int64]], *, fake: bool
) -> Tensor:
    """The kept part of a tensor; under a mode that gives it no data only its shape."""
    if not fake:
        return sliced(tensor, cuts)
    shape = list(tensor.shape)
    for axis, indices in cuts.items():
        shape[axis] = len(indices)
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)


def _shapes(value: Any) -> list[tuple[int, ...]]:
    return [tuple(map(int, tensor.shape)) for tensor in tensors_in(value)]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in what a model returns: lists, dicts, named tuples, objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value):
        yield from tensors_in(vars(value))


def source_line(node: fx.Node) -> str:
    """Where in the user's code a node was written, as `nets.py:12 x.view(-1, 512)`."""
    frame = node.meta.get(SOURCE)
    return _shown(frame) or node.name


def failing_line(error: BaseException) -> str:
    """The innermost line outside torch that an exception passed through, or ''."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_torch(frame.filename) and PACKAGE not in Path(frame.filename).parents
    ]
    return _shown(frames[-1]) if frames else ""


def _shown(frame: traceback.FrameSummary | None) -> str:
    if frame is None:
        return ""
    return f"{Path(frame.filename).name}:{frame.lineno} `{(frame.line or '').strip()}`"


def _refusal(model: nn.Module, inputs: Inputs, error: Exception) -> str:
    """One sentence: does the model fail by itself, or only under tracing?"""
    try:
        with torch.no_grad(), evaluating(model):
            model(*inputs)
    except Exception as own:  # noqa: BLE001  whatever the user's forward raises
        return failure(model, inputs, own)
    return f"{type(model).__name__} runs but cannot be traced: {first_line(error)}."


def failure(model: nn.Module, inputs: Inputs, error: Exception) -> str:
    """Why a model does not run, in one sentence."""
    kind, line = type(model).__name__, failing_line(error)
    place = f" at {line}" if line else ""
    said = first_line(error)
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    if tables and "'indices'" in said:
        reason = "an embedding reads whole numbers, and edgeprune feeds real ones"
        return f"{kind} cannot be compressed yet: {reason}{place}."
    if tables and "index out of range in self" in said:
        rows = " or ".join(str(part.num_embeddings) for part in tables)
        reason = f"an id lies beyond the {rows} rows of its embedding"
        return f"{kind} does not run on its data: {reason}{place}."
    kinds = {item.dtype for item in model.parameters() if item.is_floating_point()}
    if kinds - {torch.float32}:
        told = ", ".join(sorted(str(item).removeprefix("torch.") for item in kinds))
        return f"{kind} does not run: its weights are {told}: call its .float() first."
    shapes = ", ".join(
        "x".join(str(size) for size in tensor.shape) for tensor in tensors_in(inputs)
    )
    return (
        f"{kind} does not run on an input of shape {shapes}: "
        f"{said}{place}. Check --input against what the model takes."
    )
