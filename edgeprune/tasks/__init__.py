"""What networks are for: how outputs are judged, taught and told to agree."""

from edgeprune.tasks.agreement import Agreement, TopAgreement
from edgeprune.tasks.boxes import Detection
from edgeprune.tasks.choose import (
    TASKS,
    agreement_with,
    are_boxes,
    inferred,
    one_hot,
    task_named,
)
from edgeprune.tasks.classes import (
    IGNORED,
    Classification,
    Multilabel,
    Segmentation,
    Sequence,
)
from edgeprune.tasks.points import Keypoints
from edgeprune.tasks.structure import Structure
from edgeprune.tasks.task import (
    Task,
    Unpacking,
    counts_of,
    judged,
    scalar_loss,
    scores_of,
    tallied,
    value_of,
)
from edgeprune.tasks.values import Embedding, Image, Regression

__all__ = [
    "IGNORED",
    "TASKS",
    "Agreement",
    "Classification",
    "Detection",
    "Embedding",
    "Image",
    "Keypoints",
    "Multilabel",
    "Regression",
    "Segmentation",
    "Sequence",
    "Structure",
    "Task",
    "TopAgreement",
    "Unpacking",
    "agreement_with",
    "are_boxes",
    "counts_of",
    "inferred",
    "judged",
    "one_hot",
    "scalar_loss",
    "scores_of",
    "tallied",
    "task_named",
    "value_of",
]
