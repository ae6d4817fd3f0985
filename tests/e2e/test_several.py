"""One network for several targets, on made-up devices that disagree."""

import json
import shutil

import pytest
from pydantic import ValidationError

import edgeprune
from edgeprune.api.several import compress_for_targets
from edgeprune.devices.transports import TRANSPORTS, FakeTransport
from edgeprune.errors import ConfigError, OutputError
from edgeprune.progress import SILENT
from edgeprune.records import TargetsReport, from_json
from edgeprune.settings import CompressSettings
from examples import data, nets
from tests.commands import command
from tests.made_up import FAKE


def by_macs(item):
    """A device that computes slowly."""
    return 1e-3 + item.macs / 1e6


def by_place(item):
    """One that is slow where images are large, and for nothing else."""
    large = len(item.made) == 4 and item.made[-1] >= 16
    return 1e-3 + item.macs / 1e6 * (1.0 if large else 0.0)


def by_end(item):
    """One that is slow where they are small."""
    small = len(item.made) == 4 and item.made[-1] < 16
    return 1e-3 + item.macs / 1e6 * (1.0 if small else 0.0)


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """Two targets by their names."""
    kinds = {"slow": by_macs, "narrow": by_place, "late": by_end}

    def made(target):
        return FakeTransport(kinds[target.name], cpu=target.name)

    monkeypatch.setitem(TRANSPORTS, "fake", made)
    found = {}
    for name in kinds:
        path = tmp_path / f"{name}.toml"
        shutil.copy(FAKE, path)
        path.write_text(path.read_text().replace('name = "fake"', f'name = "{name}"'))
        found[name] = str(path)
    return found


def settings(tmp_path, devices, **budgets):
    text = ",".join(f"{devices[name]}={value}" for name, value in budgets.items())
    return CompressSettings(
        model="examples.nets:make_net",
        data="examples.data:make_data",
        target=text,
        max_drop=100,
        train=False,
        effort="quick",
        out=tmp_path / "run",
    )


def test_one_model_meets_all_budgets(tmp_path, devices):
    asked = settings(tmp_path, devices, slow="60%", narrow="90%")
    done = compress_for_targets(asked, SILENT)
    report = done.report
    assert report.status == "met", report.sentence
    chosen = report.chosen
    for name, limit in report.budgets_ms.items():
        share = {"slow": 0.6, "narrow": 0.9}[name]
        assert limit == pytest.approx(share * report.baseline_ms[name], rel=1e-6)
        assert chosen.latency_ms[name] <= limit
    assert {item.run for item in report.models} >= {"slow", "narrow"}
    for item in report.models:
        assert (done.folder / item.run / "report.json").exists()
    held = from_json(TargetsReport, (done.folder / "targets.json").read_text())
    assert held.for_all == report.for_all
    page = (done.folder / "targets.html").read_text()
    assert "slow" in page
    assert "(for all)" in page


def test_a_model_is_compressed_further_where_it_takes_too_long(tmp_path, devices):
    """What is pruned for one of these devices gains nothing on the other."""
    asked = settings(tmp_path, devices, narrow="90%", late="80%")
    report = compress_for_targets(asked, SILENT).report
    assert report.status == "met", report.sentence
    assert len(report.chosen.within) == 2
    assert report.chosen.run in ("narrow-then-late", "late-then-narrow")
    assert [len(item.within) for item in report.models] == [1, 1, 2]


def test_it_goes_on_where_it_was(tmp_path, devices):
    asked = settings(tmp_path, devices, slow="60%", narrow="60%")
    first = compress_for_targets(asked, SILENT)
    stamp = (first.folder / "slow" / "report.json").stat().st_mtime_ns
    shutil.rmtree(first.folder / "narrow")
    again = compress_for_targets(asked, SILENT)
    assert again.report.for_all == first.report.for_all
    assert (first.folder / "slow" / "report.json").stat().st_mtime_ns == stamp
    other = asked.model_copy(update={"seed": 7})
    with pytest.raises(OutputError, match="a run with another seed"):
        compress_for_targets(other, SILENT)


def test_budgets_out_of_reach_are_not_met(tmp_path, devices):
    asked = settings(tmp_path, devices, slow="60%", narrow="1%")
    report = compress_for_targets(asked, SILENT).report
    assert report.status == "unmet"
    assert report.for_all is None
    assert "takes too long on narrow" in report.sentence
    assert json.loads((tmp_path / "run" / "targets.json").read_text())


@pytest.mark.parametrize(
    ("target", "more", "complaint"),
    [
        ("a=1,b", {}, "--target b: of several targets each has a budget"),
        ("a,b", {}, "--target a: of several targets each has a budget"),
        ("a=1,b=2", {"budget_ms": 3}, "there is no --budget-ms"),
        ("a=1,a=2", {}, "--target a is given twice"),
        ("a=quick,b=2", {}, "--target a=quick"),
        ("a=-1,b=2", {}, "--target a=-1"),
    ],
)
def test_targets_that_cannot_be_meant(target, more, complaint):
    asked = CompressSettings(target=target, **more)
    with pytest.raises(ConfigError, match=complaint):
        asked.for_each_target()


def test_the_result_is_run_for_long_where_that_is_asked_for(tmp_path):
    done = edgeprune.compress(
        nets.make_net(),
        data.make_data(),
        target=FAKE,
        budget="60%",
        max_drop=100,
        train=False,
        sustained="3m",
        out=tmp_path / "run",
    )
    held = done.report.sustained
    assert len(held.minutes_ms) == 3
    assert held.slowdown == 1.0
    page = (done.folder / "report.html").read_text()
    assert "for 3 min without a pause" in page


def test_a_time_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="sustained"):
        CompressSettings(sustained="soon")


def test_the_same_command_goes_on_with_the_runs_that_have_ended(tmp_path, devices):
    text = ",".join(f"{devices[name]}=90%" for name in ("slow", "narrow"))
    asked = [
        *("compress", "--model", "examples.nets:make_net", "--quiet"),
        *("--data", "examples.data:make_data", "--target", text, "--max-drop", "100"),
        *("--no-train", "--effort", "quick", "--out", "both"),
    ]
    assert command(tmp_path, *asked).returncode == 0
    (tmp_path / "both" / "targets.json").unlink()
    shutil.rmtree(tmp_path / "both" / "narrow")
    kept = (tmp_path / "both" / "slow" / "report.json").stat().st_mtime_ns
    again = command(tmp_path, *asked)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "both" / "slow" / "report.json").stat().st_mtime_ns == kept
    (tmp_path / "both" / "mine.txt").write_text("mine")
    refused = command(tmp_path, *asked)
    assert refused.returncode == 1
    assert "both holds mine.txt, which is no run for a target" in refused.stderr
