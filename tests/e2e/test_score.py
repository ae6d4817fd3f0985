"""`edgeprune score`, and compressing by principal components."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune import cli
from edgeprune.errors import EdgepruneError
from tests.data_sets import colours
from tests.made_up import FAKE
from tests.nets import Bottom, Signal

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with data and a factory, as the current one."""
    x, y = colours(240, 8)
    split = {
        "x_train": x[:160],
        "y_train": y[:160],
        "x_test": x[160:],
        "y_test": y[160:],
    }
    np.savez(tmp_path / "data.npz", **split)
    (tmp_path / "scorednets.py").write_text("from tests.nets import Bottom as net\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["edgeprune", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


DATA = ["--model", "scorednets:net", "--data", "data.npz"]


def test_scoring_leaves_a_page_and_json_and_shows_every_group(
    here, monkeypatch, capsys
):
    assert run(monkeypatch, "score", *DATA, "--criterion", "l1,obd", "--out", "s") == 0
    shown = capsys.readouterr().out
    for word in ("first", "second", "dimensions", "near the cut"):
        assert word in shown
    report = json.loads((here / "s" / "score.json").read_text())
    assert report["sizes"] == {"first": 16, "second": 32}
    widths = [item["width"] for item in report["sensitivity"]["groups"]]
    assert len(widths) >= 4
    assert all(0 <= item["accuracy"] <= 1 for item in report["sensitivity"]["groups"])
    page = (here / "s" / "score.html").read_text()
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="', outside)
    for title in ("Sensitivity", "Principal components", "along the depth"):
        assert title in page


def test_without_data_what_needs_none_is_scored_and_the_rest_is_asked_for(
    here, monkeypatch, capsys
):
    model = ["--model", "scorednets:net", "--input", "3x8x8"]
    assert run(monkeypatch, "score", *model, "--criterion", "fpgm", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sensitivity"] is None
    assert "--data" in report["notes"][0]
    assert run(monkeypatch, "score", *model, "--criterion", "pls_vip") == 1
    assert "needs labelled data: give --data" in capsys.readouterr().err


def test_a_folder_of_scores_is_not_overwritten(here, monkeypatch, capsys):
    model = ["--model", "scorednets:net", "--input", "3x8x8", "--out", "s"]
    assert run(monkeypatch, "score", *model) == 0
    assert run(monkeypatch, "score", *model) == 1
    assert "already holds" in capsys.readouterr().err


class Mobile(nn.Module):
    """Depthwise and pointwise, with a residual stream that no ReLU follows."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.expand = nn.Sequential(
            nn.Conv2d(16, 48, 1), nn.BatchNorm2d(48), nn.ReLU6()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.BatchNorm2d(48), nn.ReLU6()
        )
        self.project = nn.Conv2d(48, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.head(x.mean((2, 3)))


def loaders(x, y):
    return tuple(
        [(torch.from_numpy(x[part]), torch.from_numpy(y[part]))]
        for part in (slice(0, 96), slice(96, 128), slice(128, 160))
    )


def compressed(tmp_path, model, x, y, **settings):
    return edgeprune.compress(
        model,
        loaders(x, y),
        budget=settings.pop("budget", {}),
        target=FAKE,
        out=tmp_path / "run",
        epochs=1,
        accuracy_floor=0.0,
        structure="pca",
        **settings,
    ).report


def test_principal_components_alone_give_widths_and_one_training(tmp_path):
    x, y = colours(160, 8)
    model = Bottom(64)
    with torch.no_grad():  # rank 3 is planted
        model.first.weight[:, :, :, :] = 0
        model.first.weight[:, :, 1, 1] = torch.randn(64, 3)
    report = compressed(tmp_path, model, x, y)
    assert report.status == "met"
    assert report.attempts[0].variance == 0.999
    assert report.attempts[0].widths["first"] == 4
    assert len(report.training) == 1
    assert report.scores.criterion == "l1"
    assert report.result.params < report.baseline.params


def test_a_budget_takes_the_largest_variance_that_fits(tmp_path):
    x, y = colours(160, 8)
    model = Bottom(64)
    limit = round(0.3 * sum(p.numel() for p in model.parameters()))
    report = compressed(tmp_path, model, x, y, budget={"max_params": limit})
    assert report.status == "met"
    tried = sorted(report.attempts, key=lambda item: item.variance)
    fitting = [item for item in tried if item.within_budget]
    above = [item for item in tried if not item.within_budget]
    assert fitting
    assert above
    assert fitting[-1].variance < above[0].variance
    assert report.result.params <= limit


def test_a_new_shape_can_be_trained_from_scratch(tmp_path):
    x, y = colours(160, 8)
    report = compressed(
        tmp_path, Bottom(32), x, y, variance=0.9, from_scratch=True, criterion="pca"
    )
    assert report.scores.criterion == "pca"
    assert report.steps[1].accuracy_before_training < 0.9
    assert [item.optimizer for item in report.training] == ["sgd"]


def test_signals_and_depthwise_networks_are_shrunk_by_variance_too(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 2, 16, generator=generator).numpy()
    y = np.arange(160) % 2
    report = compressed(tmp_path / "a", Signal(), x, y, variance=0.95)
    assert report.attempts[0].params < report.baseline.params
    x, y = colours(160, 16)
    report = compressed(
        tmp_path / "b", Mobile(), x, y, variance=0.9, ungrouped_proxy=True
    )
    assert report.attempts[0].params < report.baseline.params
    assert [item.purpose for item in report.training] == ["proxy", "finetune 1"]
    assert [bool(item.hints) for item in report.training] == [False, True]


class Chain(nn.Module):
    """Three convolutions; the second makes fewer dimensions than the first."""

    def __init__(self):
        super().__init__()
        self.one, self.norm1 = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32)
        self.two, self.norm2 = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 4)
        with torch.no_grad():
            self.two.weight[2:] = 0

    def forward(self, x):
        x = self.norm1(self.one(x)).relu()
        x = self.norm2(self.two(x)).relu()
        return self.head(x.mean((2, 3)))


def test_a_layer_that_adds_no_dimensions_goes_and_the_module_is_rebuilt(tmp_path):
    x, y = colours(160, 8)
    done = edgeprune.compress(
        Chain(),
        loaders(x, y),
        target=FAKE,
        out=tmp_path / "run",
        epochs=1,
        accuracy_floor=0.0,
        structure="pca",
    )
    assert done.report.plans[0].bypassed == ("two", "norm2")
    assert done.report.attempts[0].kept_share < 0.5  # one group of two, and narrower
    rebuilt = edgeprune.load(tmp_path / "run", Chain)
    assert isinstance(rebuilt.two, nn.Identity)
    batch = torch.from_numpy(x[:8])
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(batch), done.model(batch))


def test_without_grouped_convolutions_no_proxy_is_trained(tmp_path):
    x, y = colours(160, 8)
    report = compressed(tmp_path, Bottom(16), x, y, ungrouped_proxy=True)
    assert len(report.training) == 1
    assert any("no proxy was trained" in note for note in report.notes)


def test_what_goes_with_components_only_is_refused_elsewhere(here, monkeypatch, capsys):
    arguments = ["compress", *DATA, "--max-params", "1k", "--from-scratch"]
    assert run(monkeypatch, *arguments) == 1
    assert "--from-scratch goes with --structure pca" in capsys.readouterr().err


def test_a_budget_below_all_variances_is_said_before_training(tmp_path):
    x, y = colours(160, 8)
    report = compressed(tmp_path, Bottom(32), x, y, budget={"max_params": 20})
    assert report.status == "unmet"
    assert "out of reach of widths by variance" in report.sentence
    assert report.training == ()


def test_python_callers_are_refused_the_same_settings(tmp_path):
    x, y = colours(160, 8)
    for settings, complaint in (
        ({"from_scratch": True}, "goes with --structure pca"),
        ({"accuracy_floor": 0.5, "max_drop": 1}, "not both"),
    ):
        with pytest.raises(EdgepruneError, match=complaint):
            edgeprune.compress(
                Bottom(8),
                loaders(x, y),
                budget=1,
                target=FAKE,
                out=tmp_path,
                **settings,
            )


def test_the_variance_of_a_page_of_scores_changes_no_criterion(
    here, monkeypatch, capsys
):
    assert run(monkeypatch, "score", *DATA, "--variance", "0.5", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["variance"] == 0.5
    assert report["criterion"] == "l1"


def test_a_second_criterion_sees_the_cut_of_the_variance_that_fits(tmp_path):
    x, y = colours(160, 8)
    model = Bottom(64)
    limit = round(0.3 * sum(p.numel() for p in model.parameters()))
    report = compressed(
        tmp_path, model, x, y, budget={"max_params": limit}, criterion="l1,taylor"
    )
    rescored = report.scores.rescored
    assert 0 < rescored.channels < rescored.of
    assert report.result.params <= limit
