"""report.html: one page that opens without a network."""

from __future__ import annotations

from edgeprune.records import RunReport
from edgeprune.report.details import (
    attempt_rows,
    parity_rows,
    reconstruction_rows,
    refused_rows,
    steps_rows,
    training_rows,
)
from edgeprune.report.html import rendered
from edgeprune.report.layer_pictures import FIRST, changes, skylines, slowest_first
from edgeprune.report.nearness import roofline_text
from edgeprune.report.page_charts import (
    accuracy_chart,
    chart_note,
    ratios_text,
    tiles_of,
    times_chart,
)
from edgeprune.report.summary import (
    compared,
    models_of,
    on_device,
    rows_of,
    timing_warnings,
)


def render_page(report: RunReport) -> str:
    """The page's HTML."""
    models = models_of(report)
    layers = changes(report.baseline, report.result)
    slowest = slowest_first(layers)
    chart = accuracy_chart(report)
    counted = list(models.values())[:2]
    return rendered(
        "page.html.jinja",
        report=report,
        models=list(models),
        compared=compared(models),
        tiles=tiles_of(counted, report.metric),
        rows=rows_of(list(models.values()), report.metric),
        on_device=on_device(report),
        warnings=[*timing_warnings(report), *report.notes],
        accuracy_chart=chart,
        chart_note=chart_note(report, chart),
        steps=steps_rows(report),
        skylines=skylines(layers),
        layers=layers,
        slowest=slowest,
        first=FIRST,
        roofline=roofline_text(report.result),
        most_ms=max((layer.ms_before or 0.0 for layer in slowest), default=0.0) or 1.0,
        times_chart=times_chart({name: model.timing for name, model in models.items()}),
        ratios_text=ratios_text(report),
        refused=refused_rows(report),
        reconstructions=reconstruction_rows(report),
        trainings=training_rows(report),
        attempts=attempt_rows(report),
        parities=parity_rows(report),
    )
