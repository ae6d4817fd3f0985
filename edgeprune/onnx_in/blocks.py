"""Residual blocks of a file: what stands between a value and its sum with itself.

They are modules of their own, so that a whole block can be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgeprune.onnx_in.steps import Step

Shapes = Mapping[str, tuple[int, ...]]


def blocks_in(
    steps: Sequence[Step],
    sums: Collection[int],
    activations: Collection[int],
    shapes: Shapes,
    outputs: Collection[str],
) -> list[range]:
    """The runs of steps that are blocks, from first to last, none inside another.

    Args:
        sums, activations: the numbers of steps that add two values, and of those that
            change each value by itself.
        outputs: values that the file gives.
    """
    readers: dict[str, list[int]] = {}
    for at, step in enumerate(steps):
        for name in step.values:
            readers.setdefault(name, []).append(at)
    found: list[range] = []
    for at in sorted(sums):
        for given in steps[at].values:
            block = _behind(steps, given, at, readers, outputs)
            if block is None:
                continue
            end = _with_activation(steps, at, readers, activations, outputs)
            made = steps[end].outputs[0]
            alike = shapes.get(given) and shapes.get(given) == shapes.get(made)
            if alike and not (found and found[-1].stop > block):
                found.append(range(block, end + 1))
                break
    return found


def _behind(
    steps: Sequence[Step],
    given: str,
    at: int,
    readers: Mapping[str, list[int]],
    outputs: Collection[str],
) -> int | None:
    """The first step of a block that begins with a value and ends with a sum.

    None where it reads anything else, or others read what is made in it.
    """
    begin = min(readers[given])
    made = {name for step in steps[begin:at] for name in step.outputs}
    inside = range(begin, at + 1)

    def inside_only(name: str) -> bool:
        return all(reader in inside for reader in readers.get(name, ()))

    if begin >= at or given in made or not made & set(steps[at].values):
        return None
    for step in steps[begin : at + 1]:
        if any(name != given and name not in made for name in step.values):
            return None
    if any(name in outputs or not inside_only(name) for name in made):
        return None
    return begin if inside_only(given) else None


def _with_activation(
    steps: Sequence[Step],
    at: int,
    readers: Mapping[str, list[int]],
    activations: Collection[int],
    outputs: Collection[str],
) -> int:
    """The last step of a block: the non-linearity behind its sum, if there is one."""
    name = steps[at].outputs[0]
    if name not in outputs and readers.get(name) == [at + 1] and at + 1 in activations:
        return at + 1
    return at
