"""How the rounds of a run end."""

from dataclasses import replace

import pytest

from edgeprune import stop
from edgeprune.pipeline.rounds import Rounds
from edgeprune.pipeline.run import _by_solver
from edgeprune.records import Budget
from tests.contexts import context_of


@pytest.mark.parametrize(("share", "verdict"), [(1.5, "met"), (0.5, "exhausted")])
def test_the_verdict_is_that_of_the_last_measurement(
    share, verdict, tmp_path, monkeypatch
):
    budget = Budget(latency_ratio=share)
    context = replace(context_of(tmp_path), budget=budget, limits=budget)
    gone_wrong = stop.Decision("exhausted", "a slow moment undid the last round")
    monkeypatch.setattr(stop, "decide", lambda *_, **__: gone_wrong)
    decision, result = _by_solver(context, Rounds(context))
    assert decision.verdict == verdict
    assert result.costs.latency_ratio == pytest.approx(1.0)
