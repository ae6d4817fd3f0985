"""What a run works with, prepared for a small network on a made-up device."""

import torch
from torch import nn

from edgeprune.api.loading import workload_of_objects
from edgeprune.pipeline.job import Job
from edgeprune.pipeline.prepare import prepare
from edgeprune.settings import CompressSettings
from tests.data_sets import coloured_parts
from tests.made_up import fake_runner


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)),
    )


def job_of(model=None, transport=None, **settings):
    """A job on colours, at half of the time unless it is told otherwise."""
    usual = {"budget_ms": "50%", "precision": "fp32", "max_drop": 100.0}
    asked = CompressSettings(**{**usual, **settings})
    workload = workload_of_objects(model or small_net(), coloured_parts(), asked)
    return Job(workload, fake_runner(transport), asked)


def context_of(folder, model=None, transport=None, **settings):
    """The same, prepared."""
    return prepare(job_of(model, transport, **settings), folder)
