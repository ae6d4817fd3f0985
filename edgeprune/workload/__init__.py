"""Workloads: a model with its weights, an example input and data."""

from edgeprune.workload.models import (
    EXAMPLE,
    METER_SHAPE,
    check_module,
    load_library_model,
    load_model,
    meter_reader,
    output_names,
)
from edgeprune.workload.part import part_of, whole_of
from edgeprune.workload.weights import check_weights, load_weights_
from edgeprune.workload.workload import Workload, example_inputs, example_of

__all__ = [
    "EXAMPLE",
    "METER_SHAPE",
    "Workload",
    "check_module",
    "check_weights",
    "example_inputs",
    "example_of",
    "load_library_model",
    "load_model",
    "load_weights_",
    "meter_reader",
    "output_names",
    "part_of",
    "whole_of",
]
