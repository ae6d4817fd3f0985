"""report.json: written whole, read back and checked."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from edgeprune.errors import ReportError
from edgeprune.files import write_whole
from edgeprune.records import REPORT_SCHEMA, RunReport, from_json, to_json
from edgeprune.report.page import render_page

JSON_NAME = "report.json"
OTHERS = {"sparsity.json": "sparsify", "score.json": "score"}  # and who writes them
PAGE_NAME = "report.html"


def write_report(report: RunReport, folder: Path) -> None:
    """Write report.html, and report.json last: it marks a finished run."""
    write_whole(folder / PAGE_NAME, render_page(report))
    write_whole(folder / JSON_NAME, to_json(report))


def redraw(run: Path) -> Path:
    """Write the page of a run anew; where it is.

    Raises:
        ReportError: there is no report, or it is of another version or shape.
    """
    report = read_report(run)
    page = (run if run.is_dir() else run.parent) / PAGE_NAME
    write_whole(page, render_page(report))
    return page


def read_report(run: str | Path) -> RunReport:
    """The report of a run, by its folder or the path of its report.json.

    Raises:
        ReportError: there is none, or it is of another version or shape.

    Example:
        >>> import edgeprune
        >>> report = edgeprune.read_report("runs/first")
        >>> report.status, report.counted.latency_ratio <= 0.6
        ('met', True)
    """
    path = Path(run)
    path = path / JSON_NAME if path.is_dir() else path
    try:
        text = path.read_bytes()
    except OSError as error:
        message = f"{run} holds no {JSON_NAME}: {error.strerror}."
        for name, command in OTHERS.items():
            if (path.parent / name).exists():
                message = f"{run} holds what `edgeprune {command}` found, in {name}, "
                message += f"and no {JSON_NAME} of a compressed network."
        raise ReportError(message) from error
    _check(path, text)
    try:
        return from_json(RunReport, text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(key) for key in fault["loc"])
        message = (
            f"{path} is no edgeprune report of schema version {REPORT_SCHEMA}: "
            f"{where or 'file'}: {fault['msg']}."
        )
        raise ReportError(message) from error


def _check(path: Path, text: bytes) -> None:
    """Refuse another schema version, and NaN, which this program never writes.

    Raises:
        ReportError: which of them.
    """
    what = f"{path} is no edgeprune report of schema version {REPORT_SCHEMA}"

    def refuse(number: str) -> None:
        raise ReportError(f"{path} holds {number}, which is no figure.")

    try:
        content = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{what}: it is no JSON: {error}.") from error
    schema = content.get("schema_version") if isinstance(content, dict) else None
    if schema != REPORT_SCHEMA:
        raise ReportError(f"{what}: it has {schema!r}.")
