"""Times that other programs took, and our own file of measurements."""

import json
import math

import pytest
import torch

from edgeprune.api.devices import import_times
from edgeprune.devices.foreign import read_foreign, read_measurements, with_earlier
from edgeprune.errors import MeasurementError, ReportError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.records import FileTiming, Measurements, to_json
from tests.nets import Bottom

PI = "raspberry-pi-4"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(Bottom(), (torch.randn(1, 3, 8, 8),), path)
    return path


def test_a_profile_of_ai_hub_counts_by_its_median(tmp_path, model):
    """What it calls the estimate is the minimum."""
    times = [17_600, 40_000, 41_700, 43_000, 60_000]
    held = {"estimated_inference_time": min(times), "all_inference_times": times}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"execution_summary": held, "execution_detail": []}))
    (item,) = read_foreign(path, model, PI).files
    assert item.median_ms == 41.7
    assert item.file == "model.onnx"
    assert item.source == "Qualcomm AI Hub"


def test_results_of_perf_test_are_read(tmp_path, model):
    path = tmp_path / "result.txt"
    rows = [f"model.onnx,{s},52428800,99,{n}" for n, s in enumerate((0.02, 0.01, 0.03))]
    path.write_text("\n".join([*rows, "", "P50 Latency is 0.02sec"]) + "\n")
    (item,) = read_foreign(path, model, PI).files
    assert item.source == "onnxruntime_perf_test"
    assert item.median_ms == pytest.approx(20.0)


def test_results_of_two_models_are_not_mixed(tmp_path, model):
    path = tmp_path / "result.txt"
    path.write_text("a.onnx,0.02,5,99,1\nb.onnx,0.01,5,99,2\n")
    with pytest.raises(ReportError, match=r"several models, a\.onnx and b\.onnx: give"):
        read_foreign(path, model, PI)


def test_a_fault_in_measurements_is_said_in_words(tmp_path):
    path = tmp_path / "times.json"
    path.write_text('{"schema_version": 1, "target": "a", "files": [{"file": 3}]}')
    complaint = r"--out` writes: created: it is missing \(and 2 more\)"
    with pytest.raises(ReportError, match=complaint):
        read_measurements(path)


def test_a_row_that_is_no_time_is_named(tmp_path, model):
    path = tmp_path / "result.txt"
    path.write_text("m,0.02,5,99,1\nm,abc,5,99,2\n")
    with pytest.raises(ReportError, match="line 2: 'abc' is no time in seconds"):
        read_foreign(path, model, PI)


def test_times_of_what_is_no_network_are_refused(tmp_path):
    (tmp_path / "result.txt").write_text("m,0.02,5,99,1\n")
    with pytest.raises(MeasurementError, match=r"README\.md is no ONNX file whose op"):
        import_times(["README.md"], tmp_path / "result.txt", target=PI)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1, 2]", '{"execution_summary": {"all_inference_times": []}}', "a,b,c"],
)
def test_what_is_no_time_is_refused(tmp_path, model, text):
    path = tmp_path / "other"
    path.write_text(text)
    with pytest.raises(ReportError, match="no times in it that can be read"):
        read_foreign(path, model, PI)


def test_measurements_add_up_in_one_file(tmp_path):
    path = tmp_path / "times.json"

    def told(*items):
        files = tuple(FileTiming(f"{name}.onnx", ms, name) for name, ms in items)
        return Measurements(1, PI, "", files)

    path.write_text(to_json(told(("a", 1.0), ("b", 2.0))))
    found = with_earlier(told(("b", 3.0), ("c", 4.0)), path)
    assert {item.sha256: item.median_ms for item in found.files} == {
        "a": 1.0,
        "b": 3.0,
        "c": 4.0,
    }
    path.write_text(to_json(Measurements(1, "other", "", ())))
    with pytest.raises(ReportError, match="those of raspberry-pi-4 need a file"):
        with_earlier(told(("b", 3.0)), path)


@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        ("nonsense", "is not what `edgeprune measure --out` writes"),
        (to_json(Measurements(9, PI, "", ())), "has the schema 9"),
        (to_json(Measurements(1, PI, "", (FileTiming("a", -1.0),))), "no positive"),
        (
            to_json(Measurements(1, PI, "", (FileTiming("a", math.inf),))),
            "positive|not",
        ),
    ],
)
def test_measurements_that_cannot_be_used(tmp_path, held, complaint):
    path = tmp_path / "times.json"
    path.write_text(held)
    with pytest.raises(ReportError, match=complaint):
        read_measurements(path)
