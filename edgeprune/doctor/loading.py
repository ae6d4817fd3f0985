"""Does the target load the file at all: versions, domains, sizes, data elsewhere?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx import TensorProto

from edgeprune.doctor.examined import Examined
from edgeprune.onnx_files.portable import PLAIN_DOMAINS, newest_of
from edgeprune.records.doctor import Finding
from edgeprune.units import megabytes

KNPLAIN_DOMAINS = (*PLAIN_DOMAINS, "ai.onnx.ml", "com.microsoft")
MUCH_TEXT = 0.01  # of a file


def refusal(file: Examined) -> Iterator[Finding]:
    """ONNX Runtime does not load it."""
    if file.refused is not None:
        yield Finding(
            "not_loading",
            "blocker",
            f"the newest runtime here does not load it: {file.refused}",
            "export it anew",
        )


def versions(file: Examined) -> Iterator[Finding]:
    """It is newer than the oldest runtime that the target names."""
    oldest = file.runner.target.runtime.oldest
    newest = newest_of(oldest)
    if newest is None:
        return
    opset, form = newest
    remedy = f"export it with opset {opset} or older, or set runtime.oldest"
    if file.opset is not None and file.opset > opset:
        yield Finding(
            "newer_operators",
            "blocker",
            f"it uses opset {file.opset}, and onnxruntime {oldest} knows {opset}",
            remedy,
        )
    if file.proto.ir_version > form:
        yield Finding(
            "newer_format",
            "blocker",
            f"its format has version {file.proto.ir_version} (IR), and onnxruntime "
            f"{oldest} reads {form}",
            f"set ir_version to {form}: nothing else of it is newer, or export anew",
        )


def domains(file: Examined) -> Iterator[Finding]:
    """Operators that no runtime has, and sets of them that nothing uses."""
    used = {node.domain for node in file.graph.node}
    own = {item.domain for item in file.proto.functions}
    for domain in sorted(used - {*KNPLAIN_DOMAINS, *own}):
        kinds = sorted({n.op_type for n in file.graph.node if n.domain == domain})
        yield Finding(
            "unknown_domain",
            "blocker",
            f"{', '.join(kinds)} of {domain!r} are operators that ONNX Runtime lacks",
            "register them there, or write the network without them",
        )
    declared = {item.domain for item in file.proto.opset_import}
    unused = sorted(declared - used - {*PLAIN_DOMAINS, *own})
    if unused:
        yield Finding(
            "unused_operator_sets",
            "note",
            f"it asks for {', '.join(unused)}, which nothing in it uses",
            "take them out of opset_import: some runtimes refuse what they do not know",
        )


def data_elsewhere(file: Examined) -> Iterator[Finding]:
    """Weights in files of their own."""
    names = {
        entry.value
        for item in file.weights.values()
        if item.data_location == TensorProto.EXTERNAL
        for entry in item.external_data
        if entry.key == "location"
    }
    missing = sorted(name for name in names if not (file.path.parent / name).is_file())
    if missing:
        yield Finding(
            "missing_data",
            "blocker",
            f"its weights lie in {', '.join(missing)}, which is not beside it",
            "put the file there, or save it as one",
        )
    elif names:
        yield Finding(
            "external_data",
            "warning",
            f"its weights lie in {', '.join(sorted(names))}: both have to be shipped, "
            "and browsers load one",
            "save it as one file: onnx.save(onnx.load(path), path)",
        )


def sizes(file: Examined) -> Iterator[Finding]:
    """It is larger than the target allows."""
    limit, size = file.runner.target.limits.file_mb, file.path.stat().st_size
    if limit is not None and size > limit * 1e6:
        yield Finding(
            "too_large",
            "blocker",
            f"it has {megabytes(size)}, and limits.file_mb is {limit:g}",
            "prune it, or quantise it: edgeprune compress --max-size-mb",
        )


def text(file: Examined) -> Iterator[Finding]:
    """Debug text: traces of the source, with paths."""
    own = sum(item.ByteSize() for item in file.proto.metadata_props)  # for its readers
    found = sum(_text_bytes(file.proto)) - own
    if found > MUCH_TEXT * file.path.stat().st_size:
        yield Finding(
            "debug_text",
            "note",
            f"{megabytes(found)} of it are text for debugging, which may hold paths "
            "and lines of your source",
            "clear doc_string and metadata_props before you ship it",
        )


def training(file: Examined) -> Iterator[Finding]:
    """Norms and dropout as they are in training."""
    found = [
        node.name or node.op_type
        for node in file.graph.node
        if any(item.name == "training_mode" and item.i for item in node.attribute)
    ]
    found += [
        node.name or node.op_type
        for node in file.graph.node
        if node.op_type == "Dropout"
        and len(node.input) > DROPOUT_TRAINS
        and bool(file.constants.get(node.input[DROPOUT_TRAINS], False))
    ]
    if found:
        yield Finding(
            "training_mode",
            "blocker",
            f"it computes as in training: {_few(found)}",
            "export the module after .eval()",
        )


def rules(file: Examined) -> Iterator[Finding]:
    """ONNX's own checker has something against it."""
    try:
        onnx.checker.check_model(str(file.path))
    except Exception as error:  # noqa: BLE001  of many kinds
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding(
            "against_the_rules",
            "warning",
            f"ONNX's checker refuses it: {line}",
            "other readers may refuse it: export it anew",
        )


DROPOUT_TRAINS = 2  # its input that says so
CHECKS = (
    refusal,
    versions,
    domains,
    data_elsewhere,
    sizes,
    text,
    training,
    rules,
)


def _text_bytes(message: Message) -> Iterator[int]:
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            parts = [value] if isinstance(value, str) else value
            yield sum(
                len(part) if isinstance(part, str) else part.ByteSize()
                for part in parts
            )
        elif field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _text_bytes(part)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def load(path: Path) -> onnx.ModelProto | None:
    """A file's content; None where it is none of ONNX."""
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception:  # noqa: BLE001  protobuf's own
        return None
    return proto if proto.HasField("graph") and proto.graph.node else None
