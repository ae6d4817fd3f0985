"""What a file asks of the runtime that reads it: no more than its network needs.

Phones and boards have the runtime that they were built with. ONNX Runtime refuses a
file whose versions it does not know, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message

OPSET = 18  # of ONNX 1.13: ONNX Runtime reads it from 1.14 (2023) on
# The version of the file format that came with an operator set, of those that the
# exporter may have to go up to.
IR_VERSIONS = {18: 8, 19: 9, 20: 9}
# From each version of ONNX Runtime on: the newest operators and format that it reads.
READS = (
    ((1, 14), 18, 8),
    ((1, 15), 19, 9),
    ((1, 17), 20, 9),
    ((1, 18), 21, 10),
    ((1, 22), 23, 11),
)
PLAIN_DOMAINS = ("", "ai.onnx")  # both name ONNX's own operators


def make_portable_(proto: onnx.ModelProto) -> None:
    """Drop what no reader needs: debug text, unused operator sets, a newer format.

    The text of traces, with paths and lines of the source, is a third of a small file
    that is given to others.
    """
    _strip_(proto)
    used = {*PLAIN_DOMAINS, *(node.domain for node in _nodes(proto))}
    kept = [item for item in proto.opset_import if item.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    needed = IR_VERSIONS.get(opset_of(proto) or OPSET, proto.ir_version)
    proto.ir_version = min(proto.ir_version, needed)


def opset_of(proto: onnx.ModelProto) -> int | None:
    """The version of ONNX's own operators that a file asks for."""
    versions = [
        item.version for item in proto.opset_import if item.domain in PLAIN_DOMAINS
    ]
    return max(versions, default=None)


def newest_of(runtime: str) -> tuple[int, int] | None:
    """The newest operator set and format (IR) that a version of ONNX Runtime reads.

    None where it is not known. (The table "ONNX Runtime Compatibility" of its docs.)
    """
    version = tuple(map(int, runtime.split(".")[:2]))
    known = [(opset, form) for first, opset, form in READS if first <= version]
    return known[-1] if known else None


def oldest_for(proto: onnx.ModelProto) -> str:
    """The oldest version of ONNX Runtime that reads a file, of those that are known."""
    opset = opset_of(proto) or OPSET
    for first, newest, form in READS:
        if opset <= newest and proto.ir_version <= form:
            return ".".join(map(str, first))
    return "of this year"


def _nodes(message: Any) -> Iterator[onnx.NodeProto]:
    """Every node of a file, those of graphs inside of nodes and of functions too."""
    if isinstance(message, onnx.NodeProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _nodes(part)


def _strip_(message: Message) -> None:
    for name in ("doc_string", "metadata_props"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                _strip_(part)
