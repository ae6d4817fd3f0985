"""The command line: parse, call, render. The only place that prints or exits.

`runs` has the commands that make something of a network, `views` those that look at
networks and files, `results` those about results, `targets` those about devices.
Stages are imported inside the commands: `--help` must not wait for torch.
"""

from edgeprune.cli import results, runs, targets, views  # they add their commands
from edgeprune.cli.app import app, main

__all__ = ["app", "main", "results", "runs", "targets", "views"]
