"""Settings of training, each declared once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgeprune.settings.option import Option, Panel, SettingsModel
from edgeprune.settings.values import Augment, Optimizer, Positive


class StepSettings(SettingsModel):
    """How steps of training are taken."""

    epochs: Annotated[
        Annotated[int, Field(ge=0)] | Literal["auto"] | None,
        Option(
            "Of each training; auto for as many as there is time for, see --minutes.",
            Panel.TRAINING,
            default="by the size of the data",
            expected="a whole number or auto is expected",
            trains=True,
        ),
    ] = None
    learning_rate: Annotated[
        Positive, Option("Peak of the schedule, per step.", Panel.TRAINING)
    ] = 0.02
    optimizer: Annotated[
        Optimizer | None,
        Option(
            "muon, sgd or adamw.",
            Panel.TRAINING,
            default="muon to fine-tune; sgd for zeros, growth and fresh weights",
        ),
    ] = None
    average: Annotated[
        float | None,
        Field(ge=0, le=0.5),
        Option(
            "Share of all steps, 0 to 0.5, that an exponential average of the weights "
            "looks back over, which is what is judged and kept; 0 for none.",
            Panel.TRAINING,
            default="0.1 to fine-tune, 0 for zeros",
        ),
    ] = None

    @property
    def epoch_count(self) -> int | None:
        """The number of epochs, where it is given as one."""
        return None if self.epochs == "auto" else self.epochs


class TeacherSettings(StepSettings):
    """How a pruned network is fine-tuned."""

    minutes: Annotated[
        Positive | None,
        Option(
            "Time for all fine-tuning together, in place of --epochs.",
            Panel.TRAINING,
            trains=True,
        ),
    ] = None
    distil: Annotated[
        Literal["logits", "features", "no"],
        Option(
            "What is learnt from the original: features (its outputs and feature "
            "maps), logits (its outputs alone) or no.",
            Panel.TRAINING,
        ),
    ] = "features"
    label_smoothing: Annotated[
        float,
        Field(ge=0, lt=1),
        Option(
            "Share of each label, 0 to 1, that is spread over all classes.",
            Panel.TRAINING,
            needs=("distil", "no"),
            because="it would blur what the original teaches",
        ),
    ] = 0.0
    augment: Annotated[
        Augment,
        Option(
            "How training images are changed: auto, none, or some of crop,rotate,flip.",
            Panel.TRAINING,
            default="auto: as data and task bear it",
            expected="auto, none or some of crop, rotate, flip are expected, as "
            "crop,flip",
        ),
    ] = None
    self_supervised: Annotated[
        Literal["no", "inpaint"],
        Option(
            "inpaint: fine-tune once more with a second head that fills in a cut-out "
            "region, and keep the better network; the gain is reported.",
            Panel.TRAINING,
            trains=True,
        ),
    ] = "no"
    inpaint_weight: Annotated[
        Positive | None,
        Option(
            "Weight of the second head's loss.",
            Panel.TRAINING,
            default="0.1",
            needs=("self_supervised", "inpaint"),
        ),
    ] = None
    stop_at_floor: Annotated[
        bool,
        Option(
            "End each training as soon as the accuracy floor is reached.",
            Panel.TRAINING,
            trains=True,
        ),
    ] = False
