"""Traces where sizes and modules come from while the user's Python code runs.

The line of code behind an operator, the origin of the sizes that were given to it, and
where each module was entered and left.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from edgeprune.graph.data_access import as_operator
from edgeprune.graph.recorder import Recorder
from edgeprune.graph.sizes import (
    AttributeSize,
    AxisSize,
    Comparisons,
    Size,
    held_numbers,
    holding,
)
from edgeprune.graph.torch_private import functions_opened

SIZES, SOURCE = "sizes", "source"  # keys of a node's meta

TORCH = f"{Path(torch.__file__).parent}/"
HERE = f"{Path(__file__).parent}/"


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of a module.

    Attributes:
        entered: the node of its only argument.
        left: the node of its result; None where result and argument are not two
            tensors of one shape, or the argument is changed in place.
    """

    entered: fx.Node | None
    left: fx.Node | None


class ProvenanceTracer(TorchFunctionMode):
    """Watches one run of a model that is recorded.

    Attributes:
        visits: the calls of every module that has parameters, by its path.
        comparisons: which sizes the code found to be equal.
        constants: what the code made tensors of, and where.
    """

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self.visits: dict[str, list[Visit]] = {}
        self.comparisons = Comparisons()
        self.constants: list[tuple[traceback.FrameSummary | None, str]] = []
        self._model = model
        self._paths = {
            module: path
            for path, module in model.named_modules()
            if path and next(module.parameters(), None) is not None
        }
        self._entered: list[fx.Node | None] = []
        self._inside = ExitStack()

    def __enter__(self) -> ProvenanceTracer:
        numbers = {
            path: Size(value, AttributeSize(path), self.comparisons)
            for path, value in held_numbers(self._model).items()
        }
        with ExitStack() as stack:
            stack.enter_context(holding(self._model, numbers))
            stack.enter_context(functions_opened())
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, with_kwargs=True),
            ):
                stack.callback(handle.remove)
            self._inside = stack.pop_all()
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._inside.close()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, func = kwargs or {}, as_operator(func)
        if func in SIZE_READERS:
            return self._sizes(func, args, kwargs)
        if func.__name__ == "__get__":
            return func(*args, **kwargs)  # an attribute, no operator
        if func in CONSTANT_MAKERS:
            self.constants.append((_user_frame(inspect.currentframe()), str(args)))
        last = self._recorder.last
        result = func(*args, **kwargs)
        made = self._recorder.since(last)
        if made:
            self._recorder.recognise(result, made[0])
            source = _user_frame(inspect.currentframe())
            given = whole_numbers((args, kwargs))
            for node in made:
                node.meta.setdefault(SOURCE, source)
                node.meta.setdefault(SIZES, _matched(node, given))
        return result

    def _sizes(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Lengths that remember the axis they were read from."""
        result, node = func(*args, **kwargs), self._recorder.known(args[0])
        if node is None:
            return result
        if isinstance(result, int):
            axis = int(args[1] if len(args) > 1 else kwargs["dim"])
            origin = AxisSize(node, axis % args[0].ndim)
            return Size(result, origin, self.comparisons)
        return torch.Size(
            Size(length, AxisSize(node, axis), self.comparisons)
            for axis, length in enumerate(result)
        )

    def _enter(self, module: nn.Module, arguments: Any) -> None:
        if module in self._paths:
            sole = arguments[0] if len(arguments) == 1 else None
            self._entered.append(self._recorder.known(sole))

    def _leave(
        self, module: nn.Module, arguments: Any, named: Any, result: Any
    ) -> None:
        if module not in self._paths:
            return
        entered = self._entered.pop()
        sole = arguments[0] if len(arguments) == 1 else None
        alike = (
            isinstance(sole, Tensor)
            and not named
            and isinstance(result, Tensor)
            and sole.shape == result.shape
            and sole.dtype == result.dtype
            and self._recorder.known(sole) is entered
        )
        visit = Visit(entered, self._recorder.known(result) if alike else None)
        self.visits.setdefault(self._paths[module], []).append(visit)


SIZE_READERS = {torch.Tensor.size, torch.Tensor.shape.__get__}  # type: ignore[attr-defined]


CONSTANT_MAKERS = {torch.tensor, torch.as_tensor, torch.scalar_tensor}


class _Passing(TorchFunctionMode):
    """Changes nothing; that it is there keeps torch's modules off their shortcuts."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def as_watched() -> Iterator[None]:
    """Inside, code takes the way through torch that it takes under a tracer."""
    with functions_opened(), _Passing():
        yield


def is_torch(filename: str) -> bool:
    """Whether a file belongs to torch itself."""
    return filename.startswith((TORCH, "<"))


def _user_frame(frame: FrameType | None) -> traceback.FrameSummary | None:
    """The innermost line outside torch and outside this package."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_torch(filename) and not filename.startswith(HERE):
            name = frame.f_code.co_name
            return traceback.FrameSummary(filename, frame.f_lineno, name)
        frame = frame.f_back
    return None


def whole_numbers(arguments: Any) -> list[int]:
    """The whole numbers inside nested arguments, in order."""
    if isinstance(arguments, int) and not isinstance(arguments, bool):
        return [arguments]
    if isinstance(arguments, slice):
        return whole_numbers((arguments.start, arguments.stop, arguments.step))
    if isinstance(arguments, Mapping):
        arguments = arguments.values()
    elif not isinstance(arguments, tuple | list):
        return []
    return [number for item in arguments for number in whole_numbers(item)]


def _matched(node: fx.Node, given: list[int]) -> dict[int, int]:
    """Match the numbers that the user's code gave to the whole numbers of a node."""
    own = whole_numbers((node.args, node.kwargs))
    matched: dict[int, int] = {}
    position = 0
    for item in given:
        found = next((at for at in range(position, len(own)) if own[at] == item), None)
        if found is not None:
            matched[found] = item
            position = found + 1
    return matched
