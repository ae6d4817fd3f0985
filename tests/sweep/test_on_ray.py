"""A sweep on a cluster of two machines, one of which goes away; needs Ray."""

from threading import Thread

import pytest

from edgeprune.progress import Logged
from edgeprune.sweep.on_ray import unpacked
from edgeprune.sweep.run import sweep
from tests.sweep.conftest import TEXT
from tests.waiting import wait_for

ray = pytest.importorskip("ray", reason="Ray is not installed")


def facts(swept):
    """What does not depend on the clock."""
    return [
        (cell.name, cell.status, cell.accuracy, cell.macs, cell.on_frontier)
        for cell in swept.report.cells
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_machine_gives_the_same_table(place, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(place)
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    text = TEXT.replace('"50%"', '"60%", "50%"')
    (place / "sweep.toml").write_text(text)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    lost = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)

    def lose():
        wait_for(lambda: list(place.glob("far/0*/report.json")), 500)
        cluster.remove_node(lost, allow_graceful=False)

    Thread(target=lose, daemon=True).start()
    try:
        far = sweep(place / "sweep.toml", place / "far", Logged(), ray=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
    near = sweep(place / "sweep.toml", place / "near", Logged())
    assert facts(far) == facts(near)
    assert [cell.status for cell in far.report.cells] == ["met", "refused"] * 3


def test_what_comes_back_is_a_whole_run_or_a_reason(tmp_path):
    import io
    import zipfile

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("ended.json", '{"refused": true, "sentence": "no"}')
    end = unpacked(held.getvalue(), tmp_path / "a", tmp_path / "notes")
    assert (end.refused, end.sentence) == (True, "no")
    assert not (tmp_path / "a").exists()
