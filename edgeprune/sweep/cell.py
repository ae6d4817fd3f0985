"""One cell in a process of its own: `python -m edgeprune.sweep.cell SETTINGS`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from edgeprune.api.compress import compress_settings
from edgeprune.devices.alone import VARIABLE, let_all_go_on
from edgeprune.errors import (
    DamagedFileError,
    EdgepruneError,
    MeasurementError,
    OutputError,
)
from edgeprune.files import write_whole
from edgeprune.progress import Logged
from edgeprune.records import from_json, to_json
from edgeprune.records.sweep import CellEnd
from edgeprune.settings import CompressSettings

END = "ended.json"  # why there is no result
PASSING = (MeasurementError, OutputError, DamagedFileError)  # another try may do better
WATCHED_S = 0.5


def main(path: Path) -> None:
    """Run what a file of settings asks for; a refusal is written beside it."""
    _end_with_parent()
    settings = from_json(CompressSettings, path.read_bytes())
    try:
        compress_settings(settings, Logged())
    except EdgepruneError as error:
        refused = not isinstance(error, PASSING)
        write_whole(path.parent / END, to_json(CellEnd(refused, str(error))))
        sys.exit(1)


def _end_with_parent() -> None:
    """End when the sweep does, even if it was killed; what stands still goes on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCHED_S)
        if (shared := os.environ.get(VARIABLE)) is not None:
            let_all_go_on(Path(shared))
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
