"""Workloads: a model with its weights, an example input, data and their metric."""

from edgeprune.workload.models import (
    EXAMPLE,
    METER_SHAPE,
    check_module,
    load_library_model,
    load_model,
    meter_reader,
    output_names,
)
from edgeprune.workload.outputs import accuracy, check_outputs, right_answers, share
from edgeprune.workload.weights import check_weights, load_weights_
from edgeprune.workload.workload import Workload, example_inputs

__all__ = [
    "EXAMPLE",
    "METER_SHAPE",
    "Workload",
    "accuracy",
    "check_module",
    "check_outputs",
    "check_weights",
    "example_inputs",
    "load_library_model",
    "load_model",
    "load_weights_",
    "meter_reader",
    "output_names",
    "right_answers",
    "share",
]
