"""Bad input ends in one sentence and exit 1, early, and writes nothing.

One line an input. A traceback, a second line or another exit status fails.
"""

import json

import pytest

from tests.bad_inputs import (
    NETS,
    RECIPES,
    TOML,
    made_arrays,
    made_images,
    made_weights,
)
from tests.commands import command
from tests.made_up import FAKE


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all of it."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "badnets.py").write_text(NETS)
    (folder / "syntax.py").write_text("def make(:\n")
    (folder / "raises.py").write_text("raise RuntimeError('a bug of the user')\n")
    made_weights(folder)
    made_arrays(folder)
    made_images(folder)
    for name, line in RECIPES.items():
        (folder / f"{name}.toml").write_text(f"{TOML}{line}\n")
    (folder / "full").mkdir()
    (folder / "full" / "model.onnx").write_text("mine")
    (folder / "a_file").write_text("")
    (folder / "nowhere").symlink_to("missing")
    return folder


NET = "--model badnets:make"
GROUPS = f"groups {NET} --input 3x16x16"
HERE = f"--target {FAKE} --out new"
RUN = f"--max-macs 60% --no-train {HERE}"
COMPRESS = f"compress {NET} {RUN} --data badnets:good"
SCORE = f"score {NET} --out new"
WEIGHTS = [
    *("int_keys.pt", "sparse.pt", "on_meta.pt", "other.pt", "no_tensors.pt"),
    *("a_list.pt", "whole.pt", "an_object.pt", "nan.pt", "text.pt", "empty.pt"),
    *("text.safetensors", "script.pt", "missing.pt", "no_run", "a_run", "deep_run"),
    "old_run",
]
ARRAYS = [
    *("scalar", "strings", "long", "complex", "flat", "grey", "grey_test", "fewer"),
    *("negative", "real", "one_hot", "nan", "one_class", "many", "none", "objects"),
    *("lacking", "text", "cut", "huge", "nested", "bytes", "bomb", "missing"),
]
DATA = [
    *("negative", "late_label", "many_classes", "one_class", "real_labels"),
    *("other_channels", "other_size", "not_finite", "words", "ragged", "lists"),
    *("triples", "one", "four", "nothing", "empty", "empty_test", "broken"),
    *("exits", "fails", "unknown"),
]
MODELS = [
    *("Nothing", "Exits", "Fails", "Pair", "Words", "lazy", "meta", "scripted"),
    *("infinite", "exits", "fails", "no_module", "unknown", "NETS"),
]
IMAGES = [
    *("cut_images", "text_images", "looped", "shared", "split", "bare", "hollow"),
]
OPTIONS = [
    *("--out full", "--out a_file", "--out nowhere", "--out nowhere/run"),
    *("--out a_file/run", f"--out {'a' * 300}", "--batch 1000000000000"),
    *("--input 3x100000x100000", "--input 3x8x8", "--max-drop -1", "--max-drop 101"),
    *("--accuracy-floor 2", "--budget-ms -1", "--budget-ms nan", "--budget-ms inf"),
    *("--budget-ms 0%", "--max-params 0", "--max-params many", "--max-size-mb 1e300"),
    *("--seed -1", "--seed 99999999999999999999", "--batch-size 1", "--mean 1"),
    *("--mean 1 --std 1", "--criterion nope", "--target nope", "--epochs 3"),
    *("--weights missing.pt", "--structure nope", "--precision int4"),
]
INPUTS = [
    *(f"{GROUPS} --weights {name}" for name in WEIGHTS),
    *(f"{SCORE} --data {name}.npz" for name in ARRAYS),
    *(f"compress {NET} {RUN} --data badnets:{name}" for name in DATA),
    *(f"compress --model badnets:{name} {RUN} --data badnets:good" for name in MODELS),
    *(f"{SCORE} --input 3x16x16 --data {name}" for name in IMAGES),
    *(f"{COMPRESS} {more}" for more in OPTIONS),
    *(f"profile {NET} --input 3x16x16 --target {name}.toml" for name in RECIPES),
    f"{SCORE} --input 2x16x16 --data images",
    f"{SCORE} --data images",
    f"{SCORE} --input 3x16x16 --data images --mean 1,1 --std 1,1",
    f"{SCORE} --data good.npz --mean .5,.5 --std 1,1",
    f"{SCORE} --data good.npz --mean .5 --std 0",
    f"{SCORE} --input 3x16x16 --data noise --mean .5 --std 1",
    f"{GROUPS.replace('badnets', '../badnets')}",
    f"{GROUPS.replace('badnets', 'syntax')}",
    f"{GROUPS.replace('badnets', 'raises')}",
    f"{GROUPS.replace('badnets:make', 'torchvision:nope')}",
    f"groups {NET}",
    f"compress --model badnets:frozen --data badnets:good --max-macs 60% {HERE}",
    f"compress --model badnets:TwoHeads --data badnets:good --max-macs 60% {HERE}",
    "compare no_run a_run",
    "compare missing a_run",
]


def test_there_are_many():
    assert len(set(INPUTS)) == len(INPUTS) > 120


@pytest.mark.parametrize("line", INPUTS)
def test_bad_input_is_one_sentence_and_nothing_is_written(line, place):
    before = sorted(path.name for path in place.iterdir())
    ended = command(place, *line.split(), *([] if "compare" in line else ["--quiet"]))
    last = ended.stderr.strip().splitlines()[-1]
    usage = ended.returncode == 2  # typer's, of what is no option or value
    assert usage or (ended.returncode == 1 and last.startswith("error: ")), ended
    assert "Traceback" not in ended.stderr
    assert usage or ended.stderr.count("error: ") == 1
    after = sorted(path.name for path in place.iterdir() if path.name != "__pycache__")
    assert [name for name in after if name not in before] == []


def test_an_edgeprune_toml_that_is_a_folder_or_holds_booleans_is_refused(tmp_path):
    (tmp_path / "edgeprune.toml").mkdir()
    assert command(tmp_path, *GROUPS.split()).returncode == 1
    (tmp_path / "edgeprune.toml").rmdir()
    (tmp_path / "edgeprune.toml").write_text(json.dumps(3))
    assert command(tmp_path, *GROUPS.split()).returncode == 1
    (tmp_path / "edgeprune.toml").write_text("seed = true")
    ended = command(tmp_path, *GROUPS.split())
    assert (ended.returncode, "true and false" in ended.stderr) == (1, True)
