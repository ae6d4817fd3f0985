"""Which networks are probed next, and what other networks have told of operators."""

import numpy as np

from edgeprune.measure.onnx_file import NodeFacts
from edgeprune.profile.fit import Probed, errors_of, fit, left_out
from edgeprune.profile.library import OperatorLibrary
from edgeprune.profile.operators import operators_of
from edgeprune.profile.probes import least_sure
from tests.made_up import fake_runner
from tests.profile.test_fit import LAYERS, Device

FACTS = {weight: NodeFacts("Conv") for weight in LAYERS.values()}


def probed(device, count, seed):
    return Probed(device.samples(count, seed), LAYERS, FACTS)


def test_the_next_probe_is_far_from_those_that_were_seen():
    device = Device()
    narrow = Probed([device.sample(p, p) for p in (16, 24, 32, 48, 56, 64)], LAYERS)
    pool = [device.sample(p, p) for p in (24, 32, 512, 48)]
    assert least_sure(fit(narrow), narrow, pool, 1) == [2]


def test_a_network_is_probed_once():
    device = Device()
    seen = probed(device, 8, 1)
    chosen = least_sure(fit(seen), seen, device.samples(10, 2), 10)
    assert sorted(chosen) == list(range(10))


def test_errors_of_networks_left_out_are_about_those_of_networks_never_seen():
    device = Device(noise=0.02)
    seen = probed(device, 24, 1)
    found = fit(seen)
    out = np.abs(left_out(found, seen, {})).mean()
    new = np.abs(errors_of(found, probed(device, 60, 2))).mean()
    assert new / 2 < out < 2 * new
    assert out > np.abs(errors_of(found, seen)).mean()


def test_what_was_seen_of_operators_helps_where_probes_are_few(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    device, runner = Device(), fake_runner()
    before = probed(device, 40, 1)
    library = OperatorLibrary(runner)
    assert not library.of(1.0)
    library.remember(operators_of(before.samples, LAYERS, FACTS, 16), before.samples)
    few = probed(device, 4, 3)
    known = OperatorLibrary(runner).of(few.samples[0].probe.reference_ms)
    assert known
    new = probed(device, 40, 2)
    helped = np.abs(errors_of(fit(few, known), new)).mean()
    alone = np.abs(errors_of(fit(few), new)).mean()
    assert helped < 0.01 < alone


def test_a_damaged_library_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    library = OperatorLibrary(fake_runner())
    library.path.parent.mkdir(parents=True)
    library.path.write_text("[{]")
    assert not OperatorLibrary(fake_runner()).of(1.0)
