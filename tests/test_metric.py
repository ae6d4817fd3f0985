"""A metric says its values and what is lost of it in its own unit."""

import pytest

from edgeprune.metric import ACCURACY, Metric

PSNR = Metric("PSNR", "dB", usual_drop=0.5, in_points=False)
ERROR = Metric("error", "px", False, 1.0)
RATE = Metric("error rate", "%", False)
METRES = Metric("error", "m", False)
COSINE = Metric("cosine", "")


@pytest.mark.parametrize(
    ("metric", "value", "text", "gained", "change"),
    [
        (ACCURACY, 0.9145, "91.45%", -0.0021, "-0.21 points"),
        (PSNR, 31.25, "31.25 dB", -0.5, "-0.50 dB"),
        (ERROR, -3.5, "3.5 px", -0.25, "+0.25 px"),
        (COSINE, 0.98, "0.98", -0.02, "-2.00 points"),
        (RATE, -0.123, "12.30%", 0.01, "-1.00 points"),
        (METRES, -0.004, "0.004 m", 0.002, "-0.0020 m"),
    ],
)
def test_values_and_changes_are_said_in_the_unit(metric, value, text, gained, change):
    assert metric.text(value) == text
    assert metric.told(value) == f"{metric.name} {text}"
    assert metric.change(gained) == change
    assert metric.change(0.0) in ("+0.00 points", f"+0.00 {metric.unit}")
    assert " ± 0.20 " in ACCURACY.change(gained, 0.00102)


def test_only_shares_have_an_error_of_so_many_samples():
    assert ACCURACY.chance(0.5, 100) == pytest.approx(0.05)
    assert PSNR.chance(30.0, 100) == COSINE.chance(0.5, 100) == 0.0
