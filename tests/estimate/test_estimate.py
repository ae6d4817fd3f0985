"""Times of a device that is not connected, from a few that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import edgeprune
from edgeprune import targets
from edgeprune.devices.runner import Runner
from edgeprune.devices.transports import FakeTransport
from edgeprune.devices.transports.fake import blocked_ms
from edgeprune.errors import DeviceError, ReportError, TargetError
from edgeprune.estimate.known import (
    OwnTime,
    keep_own_times,
    known_device,
    shipped_networks,
    shipped_prior,
)
from edgeprune.estimate.posterior import Prior, costs_of
from edgeprune.estimate.transport import EstimatedTransport
from edgeprune.estimate.work import KINDS, work, work_of
from edgeprune.files import sha256
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.records import FileTiming, Measurements, to_json
from edgeprune.targets import Target
from examples import data, nets
from tests.nets import Bottom

NAMES = ("baseline.onnx", "model.onnx")
PI = "raspberry-pi-4"


def test_the_work_of_a_file_is_that_of_its_operators(tmp_path):
    write_onnx(Bottom(16), (torch.randn(1, 3, 8, 8),), tmp_path / "a.onnx")
    found = dict(zip(KINDS, work_of(tmp_path / "a.onnx"), strict=True))
    first, second = 3 * 16 * 9 * 64, 16 * 32 * 9 * 16
    assert found["dense"] == first + second
    assert found["pointwise"] == 32 * 16 * 4  # the linear layer
    assert found["grouped"] == 0
    assert found["weights"] == 3 * 16 * 9 + 16 * 32 * 9 + 32 * 16 * 4


def test_grouped_convolutions_are_a_kind_of_their_own(tmp_path):
    net = torch.nn.Conv2d(8, 8, 3, groups=8, padding=1)
    write_onnx(net, (torch.randn(1, 8, 4, 4),), tmp_path / "a.onnx")
    found = dict(zip(KINDS, work_of(tmp_path / "a.onnx"), strict=True))
    assert found["grouped"] == 8 * 9 * 16
    assert found["dense"] == found["pointwise"] == 0


@pytest.fixture
def prior():
    count = len(KINDS)
    return Prior(np.zeros(count), np.eye(count) * 0.1, 0.05, 0.3, 1.28)


def test_costs_of_a_device_that_is_as_usual_are_found(prior):
    """Its scale is not known before; everything else is as the prior says."""
    rng = np.random.default_rng(0)
    works = [rng.uniform(1, 10, len(KINDS)) for _ in range(4)]
    scale = 37.0
    found = costs_of(prior, works, [scale * item.sum() for item in works])
    other = rng.uniform(1, 10, len(KINDS))
    assert found.ms(other) == pytest.approx(scale * other.sum(), rel=0.01)


def test_many_times_tell_the_costs_of_any_device(prior):
    rng = np.random.default_rng(0)
    costs = np.exp(rng.normal(0, 0.5, len(KINDS)))
    works = [rng.uniform(0, 10, len(KINDS)) for _ in range(200)]
    found = costs_of(prior, works, [float(item @ costs) for item in works])
    np.testing.assert_allclose(np.exp(found.logs), costs, rtol=0.05)


def test_an_interval_gets_narrower_with_what_is_known(prior):
    rng = np.random.default_rng(0)
    works = [rng.uniform(1, 10, len(KINDS)) for _ in range(9)]
    other = work(grouped=1.0)
    widths = []
    for count in (1, 3, 9):
        times = [float(item.sum()) for item in works[:count]]
        said = costs_of(prior, works[:count], times).interval(other)
        assert said.low_ms < said.ms < said.high_ms
        assert said.ms / said.low_ms == pytest.approx(said.high_ms / said.ms)
        widths.append(said.high_ms / said.low_ms)
    assert widths == sorted(widths, reverse=True)


def test_intervals_cover_what_they_say(prior):
    """Devices and noise drawn from the prior itself."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        scale = rng.normal(0, 2)
        offsets = rng.multivariate_normal(prior.mean, prior.covariance)
        costs = np.exp(scale + offsets)
        works = [rng.uniform(0, 10, len(KINDS)) for _ in range(4)]
        noise = np.exp(rng.normal(0, prior.noise, 4))
        times = [float(item @ costs) for item in works] * noise
        said = costs_of(prior, works[:3], times[:3].tolist()).interval(works[3])
        held.append(said.low_ms <= times[3] <= said.high_ms)
    assert 0.74 < np.mean(held) < 0.86


def test_what_is_shipped_fits_together():
    prior, networks = shipped_prior(), shipped_networks()
    assert prior.mean.shape == (len(KINDS),)
    assert (np.linalg.eigvalsh(prior.covariance) > 0).all()
    for name in targets.available():
        for item in targets.load(name).published:
            assert item.model in networks, (name, item.model)


def test_a_board_is_estimated_from_published_times():
    """A network that is among those published comes out near its own time."""
    known = known_device(targets.load(PI))
    assert known.basis == "14 published times of ncnn fp32"
    networks = shipped_networks()
    for item in targets.load(PI).published:
        said = known.costs.interval(networks[item.model])
        assert 0.4 < said.ms / item.latency_ms < 2.5


def test_own_times_come_before_published_ones():
    target = targets.load(PI)
    amounts = tuple(shipped_networks()["resnet18"].tolist())
    keep_own_times(target, (OwnTime("resnet18", 77.0, "onnxruntime 1.32", amounts),))
    known = known_device(target)
    assert known.basis == "1 networks that were measured there before"
    assert known.costs.ms(np.array(amounts)) == pytest.approx(77.0, rel=0.05)


def test_a_device_of_which_nothing_is_known():
    target = targets.load("ios-browser")
    with pytest.raises(TargetError, match="edgeprune targets calibrate ios-browser"):
        known_device(target)


def runner(told=None):
    target = targets.load(PI)
    return Runner(target, EstimatedTransport(target, told))


def test_what_is_estimated_says_so(tmp_path):
    write_onnx(Bottom(16), (torch.randn(1, 3, 8, 8),), tmp_path / "a.onnx")
    (timing,) = runner().time([tmp_path / "a.onnx"])
    assert timing.is_estimate
    assert timing.runtime == "estimated from 14 published times of ncnn fp32"
    assert timing.machine.cpu == "raspberry-pi-4, not connected"


def test_a_file_that_somebody_timed_corrects_the_others(tmp_path):
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, width in zip(paths, (16, 64), strict=True):
        write_onnx(Bottom(width), (torch.randn(1, 3, 8, 8),), path)
    one, two = (timing.median_ms for timing in runner().time(paths))
    digest = edgeprune.measure_files([paths[0]], processes=1).files[0].sha256
    told = Measurements(1, PI, "", (FileTiming("a.onnx", 3 * one, digest),))
    again, other = runner(told).time(paths)
    assert other.is_estimate
    assert not again.is_estimate
    first, second = again.median_ms, other.median_ms
    assert first == pytest.approx(3 * one)
    assert second == pytest.approx(3 * two, rel=0.2)


def compress(tmp_path, name, **how):
    return edgeprune.compress(
        nets.make_net(),
        data.make_data(),
        target=PI,
        budget={"budget_ms": "90%"},
        max_drop=100,
        train=False,
        out=tmp_path / name,
        **how,
    )


def test_a_board_that_is_not_there_is_refused_with_what_could_be_done(tmp_path):
    with pytest.raises(DeviceError, match=r"Without it: --allow-estimate goes by 14"):
        compress(tmp_path, "run")
    assert not (tmp_path / "run").exists()


def test_an_estimate_meets_a_budget_only_where_it_may(tmp_path):
    done = compress(tmp_path, "run", allow_estimate=True)
    assert done.report.status == "met"
    assert done.report.sentence.startswith("Met by an estimate")
    assert ", estimated (baseline" in done.report.sentence
    assert any("not connected: times that nobody took" in n for n in done.report.notes)
    assert done.report.int8 is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert "latency, estimated, median" in page


def test_a_loop_by_hand(tmp_path):
    """What comes out is timed by somebody; within the budget, it is the result.

    This device is slow in operators, which estimates do not expect: the first result
    is above the budget, and the same command prunes it further.
    """
    times, device = tmp_path / "times.json", FakeTransport(mostly_operators)
    told, made = Measurements(1, PI, "", ()), []
    for number in range(6):
        times.write_text(to_json(told))
        done = compress(tmp_path, f"run{number}", measurements=times)
        model, baseline = (done.folder / name for name in reversed(NAMES))
        taken = device.latency_ms(model) / device.latency_ms(baseline)
        made.append(model.read_bytes())
        if done.report.status == "met":
            break
        assert "was not timed on raspberry-pi-4 yet" in done.report.sentence
        assert ("baseline.onnx and model" in done.report.sentence) == (number == 0)
        items = [
            FileTiming(path.name, 100 * device.latency_ms(path), sha256(path))
            for path in (baseline, model)
        ]
        files = {item.sha256: item for item in (*told.files, *items)}
        told = replace(told, files=tuple(files.values()))
    assert number > 1
    assert done.report.status == "met", done.report.sentence
    assert taken <= 0.9
    assert made[-1] == made[-2]  # what was timed last is not thrown away
    assert len(done.report.steps) == 1 + number
    after = device.latency_ms(done.folder / "model.onnx")
    assert done.report.result.latency_ms == pytest.approx(100 * after, rel=1e-3)


def mostly_operators(item):
    return 0.03 + blocked_ms(item) / 4


def test_the_interval_is_narrow_near_a_file_that_was_timed(tmp_path):
    paths = [tmp_path / f"{width}.onnx" for width in (16, 32, 256)]
    for path in paths:
        write_onnx(Bottom(int(path.stem)), (torch.randn(1, 3, 8, 8),), path)
    runner().time(paths)
    held = tuple(work_of(paths[0]).tolist())
    item = FileTiming("a", 1.0, sha256(paths[0]), work=held)
    other = FileTiming("b", 1.0, "of another machine")
    transport = EstimatedTransport(
        targets.load(PI), Measurements(1, PI, "", (item, other))
    )
    assert transport.unknown == 1

    def width(of, path):
        found = of.interval(path)
        return found.high_ms / found.low_ms

    timed, near, far = (width(transport, path) for path in paths)
    before = width(EstimatedTransport(targets.load(PI)), paths[1])
    assert timed == 1 < near < far
    assert near < before


def test_times_of_another_device_are_refused(tmp_path):
    times = tmp_path / "times.json"
    times.write_text(to_json(Measurements(1, "phone", "", ())))
    with pytest.raises(ReportError, match="has times of phone, not of raspberry-pi-4"):
        compress(tmp_path, "run", measurements=times)


def test_int8_is_not_estimated(tmp_path):
    with pytest.raises(TargetError, match="how fast int8 is on a device only the dev"):
        compress(tmp_path, "run", allow_estimate=True, precision="int8")


def test_a_target_stands_on_another(tmp_path):
    """What a file does not say, its base says."""
    (tmp_path / "mine.toml").write_text(
        'base = "raspberry-pi-4"\n[ssh]\nhost = "pi@10.0.0.7"\n[runtime]\nthreads = 2\n'
    )
    held = targets.load(str(tmp_path / "mine.toml"))
    assert isinstance(held, Target)
    assert held.name == "mine"
    assert held.ssh.host == "pi@10.0.0.7"
    assert held.runtime.threads == 2
    assert held.runtime.int8_activations == "unsigned"
    with pytest.raises(TargetError, match="no time of it is known"):
        known_device(held)  # published with four threads
