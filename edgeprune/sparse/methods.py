"""The table of methods: what each makes zero, and by which constraint on training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import nn

from edgeprune.finetune.constraint import Constraint, Schedule
from edgeprune.graph.channels import Channels, Slices
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import weights_of
from edgeprune.records import Sparsity
from edgeprune.settings import SparsifySettings
from edgeprune.sparse import masks
from edgeprune.sparse.bayesian import Variational
from edgeprune.sparse.masked import Masked
from edgeprune.sparse.penalised import Penalised
from edgeprune.sparse.penalties import Blocks, Elements


@dataclass(frozen=True)
class Setup:
    """A network in which a share is to become zero.

    Attributes:
        share: that is to be zero after this training, 0..1.
        first: that was zero before the run.
        samples: of the training data.
    """

    model: nn.Module
    graph: ChannelGraph
    settings: SparsifySettings
    share: float
    first: float
    samples: int

    @cached_property
    def channels(self) -> Channels:
        """The prunable channels."""
        return Channels(self.model, self.graph.groups)

    @cached_property
    def weights(self) -> list[str]:
        """The weights of convolutions and linear layers."""
        return weights_of(self.model)


@dataclass(frozen=True)
class SparseMethod:
    """How zeros are made.

    Attributes:
        constraint: what holds the weights in training.
        by_weight: a share of weights is meant, and not of channels.
        masked: zeros are chosen, not grown by a penalty.
        mixed: part of the share is of weights and part of channels.
        needs_norms: a layer without a batch norm gets one for the training.
        scales: zeros are told by the scales of batch norms, not by filters.
    """

    constraint: Callable[[Setup], Constraint]
    by_weight: bool = False
    masked: bool = False
    mixed: bool = False
    needs_norms: bool = False
    scales: bool = False

    def share_of(self, sparsity: Sparsity) -> float:
        """Return the share that is zero already, of what the method counts."""
        return sparsity.overall if self.by_weight else sparsity.channels

    def finds(self, setup: Setup) -> bool:
        """Whether there is anything that it could make zero."""
        if self.by_weight:
            return bool(setup.weights)
        return bool(self.slices(setup))

    def slices(self, setup: Setup) -> tuple[Slices, ...]:
        """Where the channels are told to be zero."""
        return setup.channels.scales if self.scales else setup.channels.made


def _by_mask(
    choice: Callable[[nn.Module, ChannelGraph], masks.Choose], setup: Setup
) -> Constraint:
    """Masks at the share, or along a cubic up to it."""
    gradual = setup.settings.gradual
    first = setup.first if gradual else setup.share
    until = Schedule(setup.share).until if gradual else 0.0
    schedule = Schedule(setup.share, min(first, setup.share), until)
    return Masked(choice(setup.model, setup.graph), schedule)


def _by_noise(setup: Setup) -> Constraint:
    generator = torch.Generator().manual_seed(setup.settings.seed)
    penalty, samples = setup.settings.penalty, setup.samples
    return Variational(
        setup.channels, samples, setup.share, penalty, generator=generator
    )


def _by_element(setup: Setup) -> Constraint:
    return Penalised(Elements(setup.weights), setup.share, setup.settings.penalty)


def _by_channel(setup: Setup) -> Constraint:
    blocks = Blocks(setup.channels, setup.channels.made, even=True)
    return Penalised(blocks, setup.share, setup.settings.penalty)


def _by_scale(setup: Setup) -> Constraint:
    blocks = Blocks(setup.channels, setup.channels.scales, even=False)
    return Penalised(blocks, setup.share, setup.settings.penalty)


METHODS: Mapping[str, SparseMethod] = {
    "magnitude": SparseMethod(
        partial(_by_mask, masks.magnitude), by_weight=True, masked=True
    ),
    "l1-mask": SparseMethod(partial(_by_mask, masks.l1_mask), masked=True),
    "hybrid": SparseMethod(partial(_by_mask, masks.hybrid), masked=True, mixed=True),
    "slimming": SparseMethod(_by_scale, needs_norms=True, scales=True),
    "prox-sg": SparseMethod(_by_channel),
    "prox-sg, weights": SparseMethod(_by_element, by_weight=True),
    "bayesian": SparseMethod(_by_noise),
}


def method_of(settings: SparsifySettings) -> SparseMethod:
    """The method that is asked for."""
    if settings.regulariser == "weights":
        return METHODS[f"{settings.method}, weights"]
    return METHODS[settings.method]
