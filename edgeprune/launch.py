"""Is this one of several processes that were started together?

Hugging Face Accelerate and torchrun both say so in the environment.
"""

from __future__ import annotations

import os

TOGETHER = ("compress", "fit")  # commands that several processes can run


def launched() -> bool:
    """Whether there are others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_worker() -> bool:
    """Whether another process is the main one, which measures, prints and writes."""
    return launched() and int(os.environ["RANK"]) > 0
