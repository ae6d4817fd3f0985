"""Whoever times stops the others, which go on afterwards."""

import os
import subprocess
import sys
import time

from edgeprune.devices.alone import VARIABLE, alone, beside, let_all_go_on
from tests.waiting import wait_for

COUNTING = "import time\nwhile True: print(1, flush=True); time.sleep(0.01)"


def test_others_stand_still_while_one_times(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    log = tmp_path / "log.txt"

    def lines():
        before = log.stat().st_size
        time.sleep(0.3)
        return log.stat().st_size - before

    with log.open("wb") as out:
        other = subprocess.Popen(
            [sys.executable, "-c", COUNTING], stdout=out, start_new_session=True
        )
        try:
            with beside(tmp_path, other.pid):
                wait_for(lambda: log.stat().st_size)
                with alone():
                    time.sleep(0.1)
                    assert lines() == 0
                assert lines() > 0
                os.killpg(other.pid, 19)  # whoever times was killed
                let_all_go_on(tmp_path)
                assert lines() > 0
            assert not (tmp_path / str(other.pid)).exists()
        finally:
            other.kill()
            other.wait()


def test_without_a_sweep_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with alone():
        assert not list(tmp_path.iterdir())
