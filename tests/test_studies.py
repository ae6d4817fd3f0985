"""What studies share goes on working as the code under them changes."""

import pytest
import torch

from benchmarks.setting import final_share, search, setting
from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.surgery import apply
from edgeprune.prune.loss import losses_of
from edgeprune.records import Budget
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.sensitivity import measure_sensitivity
from tests.nets import Bottom


@pytest.mark.slow
@pytest.mark.xdist_group("measuring")
def test_the_planner_alone_meets_a_budget(tmp_path):
    x = torch.randn(64, 3, 32, 32)
    held = setting(Bottom(64).eval(), (x[:1],), str(tmp_path))
    batches = TensorBatches(x, torch.zeros(64).long(), Reading(16))
    context = Context(held.model, held.graph, batches)
    scores = score_channels("l1", context)
    ranked = comparable_scores(scores, held.graph)
    loss = losses_of(ranked, measure_sensitivity(context, scores, []))
    limit = Budget(macs=int(0.6 * held.figures.macs))
    errors = held.errors(context, scores)
    found, trials = search(held, ranked, loss, limit, errors)
    assert found.fits
    assert trials
    assert final_share(held, apply(held.model, held.graph, found.plan)) > 0
