"""Settings of what is handed over beside a file."""

from __future__ import annotations

from typing import Annotated, Literal

from edgeprune.settings.option import Option, Panel, SettingsModel


class HandoverSettings(SettingsModel):
    """What is handed over beside the file."""

    input_format: Annotated[
        Literal["float", "uint8"],
        Option(
            "uint8 also hands over a file that takes images as bytes, channels last, "
            "with the preprocessing in it.",
            Panel.HOW,
        ),
    ] = "float"
    ort: Annotated[
        bool,
        Option(
            "Hand over the file in ONNX Runtime's own format, too, with the operators "
            "that a reduced build needs.",
            Panel.HOW,
        ),
    ] = False
