"""A model as a flat graph of ATen operators, with the paths of its parameters.

`torch.export` does the tracing; this module turns its refusals into one sentence and
answers where in the user's code an operator came from.
"""

from __future__ import annotations

import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from edgeprune.errors import TraceError

Inputs = tuple[Tensor, ...]

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Trace:
    """One run of a model, recorded.

    Attributes:
        program: the exported program; every node carries its shape and source line.
        owners: for each placeholder that is a parameter or buffer, its dotted path.
    """

    program: ExportedProgram
    owners: dict[str, str]

    @property
    def nodes(self) -> Iterator[fx.Node]:
        """The operators in the order in which they run."""
        return iter(self.program.graph.nodes)


def trace(model: nn.Module, inputs: Inputs) -> Trace:
    """Record one run of a model in evaluation mode.

    Raises:
        TraceError: the model does not run on these inputs, or not without Python
            control flow that depends on values.
    """
    with evaluating(model), quiet(), torch.no_grad():
        try:
            program = torch.export.export(model, inputs)
        except Exception as error:
            raise TraceError(_refusal(model, inputs, error)) from error
    signature = program.graph_signature
    owners = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return Trace(program, dict(owners))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch and ONNX Runtime print, log and warn about themselves away."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def source_line(node: fx.Node) -> str:
    """Where in the user's code a node was written, as `nets.py:12 x.view(-1, 512)`."""
    stack = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', stack)
    own = [frame for frame in frames if not _is_torch(frame[0])] or frames
    if not own:
        return node.name
    path, line, code = own[-1]
    return f"{Path(path).name}:{line} `{code.strip()}`"


def failing_line(error: BaseException) -> str:
    """The innermost line outside torch that an exception passed through, or ''."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _is_torch(frame.filename) and PACKAGE not in Path(frame.filename).parents
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} `{(last.line or '').strip()}`"


def _is_torch(filename: str) -> bool:
    return "/torch/" in filename or filename.startswith("<")


def _refusal(model: nn.Module, inputs: Inputs, error: Exception) -> str:
    """One sentence: does the model fail by itself, or only under tracing?"""
    shapes = ", ".join("x".join(str(size) for size in x.shape) for x in inputs)
    try:
        model(*inputs)
    except Exception as own:  # noqa: BLE001  whatever the user's forward raises
        line = failing_line(own)
        place = f" at {line}" if line else ""
        return (
            f"{type(model).__name__} does not run on an input of shape {shapes}: "
            f"{first_line(own)}{place}. Check --input against what the model takes."
        )
    return (
        f"{type(model).__name__} runs but cannot be traced by torch.export: "
        f"{first_line(error)}. Remove control flow that depends on tensor values."
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(". ")
