"""What an ONNX file says of itself: any reader shows it, none needs it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx


def describe_(proto: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Let a file say what it is; what it said before under other names stays."""
    kept = [item for item in proto.metadata_props if item.key not in facts]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)


def description_of(proto: onnx.ModelProto) -> dict[str, str]:
    """What a file says of itself."""
    return {item.key: item.value for item in proto.metadata_props}
