"""Factored layers and growth, end to end on small networks."""

import numpy as np
import pytest
import torch

import edgeprune
from edgeprune.data.splits import Arrays
from edgeprune.errors import EdgepruneError
from edgeprune.graph.factored import Factored
from tests.commands import command
from tests.data_sets import colours
from tests.made_up import FAKE
from tests.nets import Bottom

pytestmark = pytest.mark.slow


def data():
    x, y = colours()
    return Arrays("colours", x[:300], y[:300], x[300:], y[300:])


def started(trained):
    model = Bottom(64)
    model.load_state_dict(torch.load(trained / "ck.pt", weights_only=True))
    return model


@pytest.mark.parametrize("ranks", ["planner", "bayes"])
def test_layers_are_factored_where_the_solver_says_so(trained, tmp_path, ranks):
    done = edgeprune.compress(
        started(trained),
        data(),
        budget={"max_macs": "2M"},
        low_rank=ranks,
        target=FAKE,
        epochs=3,
        max_drop=20.0,
        out=tmp_path / "run",
    )
    assert done.report.status == "met", done.report.sentence
    assert done.report.result.macs <= 2_000_000
    loaded = edgeprune.load(tmp_path / "run", lambda: Bottom(64))
    kinds = [isinstance(module, Factored) for module in done.model.modules()]
    assert kinds == [isinstance(module, Factored) for module in loaded.modules()]
    if ranks == "planner":
        assert any(kinds)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), done.model(x), rtol=1e-4, atol=1e-5)


def test_a_factored_network_is_compressed_further(trained, tmp_path):
    first = edgeprune.compress(
        started(trained),
        data(),
        budget={"max_macs": "2M"},
        low_rank="planner",
        target=FAKE,
        epochs=2,
        max_drop=30.0,
        out=tmp_path / "first",
    )
    second = edgeprune.compress(
        Bottom(64),
        data(),
        weights=str(tmp_path / "first"),
        budget={"max_macs": "1M"},
        low_rank="planner",
        target=FAKE,
        epochs=2,
        max_drop=40.0,
        out=tmp_path / "second",
    )
    assert second.report.result.macs <= 1_000_000 < first.report.result.macs
    loaded = edgeprune.load(tmp_path / "second", lambda: Bottom(64))
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), second.model(x), rtol=1e-4, atol=1e-5)


def hard(count=600, size=12):
    """Classes that a few channels cannot tell apart: sums of many patterns."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(8, 3, size, size, generator=generator)
    y = torch.arange(count) % 8
    x = 0.35 * patterns[y] + torch.randn(count, 3, size, size, generator=generator)
    x, y = x.numpy(), y.numpy()
    parts = (slice(0, 360), slice(480, 600), slice(360, 480))
    return Arrays("patterns", *(held[part] for part in parts for held in (x, y)))


class Narrow(Bottom):
    """Too small for its task."""

    def __init__(self):
        super().__init__(4)
        self.head = torch.nn.Linear(2 * 4 * 16, 8)


@pytest.mark.parametrize("growth", ["wider", "both"])
def test_a_network_that_is_too_small_grows_within_the_budget(tmp_path, growth):
    from edgeprune.data import Reading
    from edgeprune.data.splits import array_splits
    from edgeprune.finetune.config import TrainingConfig
    from edgeprune.finetune.loop import train

    torch.manual_seed(0)
    arrays = hard()
    start, _ = train(
        Narrow(), array_splits(arrays, Reading(32)), TrainingConfig("start", 2)
    )
    done = edgeprune.compress(
        start,
        arrays,
        budget=1.0,
        growth=growth,
        target=FAKE,
        epochs=8,
        batch_size=32,
        accuracy_floor=0.0,
        out=tmp_path / "run",
    )
    report = done.report
    assert report.status == "met", report.sentence
    assert report.result.latency_ms <= 1.0
    assert report.result.validation_accuracy > report.baseline.validation_accuracy
    assert report.result.params > report.baseline.params
    assert any(plan.copies for plan in report.plans)
    loaded = edgeprune.load(tmp_path / "run", Narrow)
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), done.model(x), rtol=1e-4, atol=1e-5)


def test_fit_from_the_command_line(trained):
    done = command(
        trained,
        "fit",
        "--model",
        "mynets:wide",
        "--weights",
        "ck.pt",
        "--data",
        "data.npz",
        "--target",
        FAKE,
        "--budget-ms",
        "5",
        "--epochs",
        "1",
        "--out",
        "fit",
    )
    assert done.returncode == 0, done.stderr
    assert "Met" in done.stdout
    assert np.isfinite(edgeprune.read_report(trained / "fit").result.latency_ms)


def test_growth_needs_milliseconds(trained, tmp_path):
    with pytest.raises(EdgepruneError, match="--budget-ms"):
        edgeprune.compress(
            started(trained),
            data(),
            budget={"max_macs": "1M"},
            growth="wider",
            target=FAKE,
            out=tmp_path / "run",
        )
