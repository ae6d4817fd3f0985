"""The command line: parse, call, render. The only place that prints or exits.

`runs` has the commands that make something of a network, `views` those that show
something, `targets` those about devices. Stages are imported inside the commands:
`--help` must not wait for torch.
"""

from edgeprune.cli import runs, targets, views  # they add their commands
from edgeprune.cli.app import app, main

__all__ = ["app", "main", "runs", "targets", "views"]
