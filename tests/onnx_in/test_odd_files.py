"""Files as old exporters, other tools and people with an editor write them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import edgeprune
from edgeprune.api.inspect import groups_settings
from edgeprune.api.loading import load_workload
from edgeprune.errors import WorkloadError
from edgeprune.onnx_in.reading import load_onnx_model
from edgeprune.progress import SILENT
from edgeprune.settings import CompressSettings, GroupsSettings
from tests.made_up import FAKE

RANDOM = np.random.default_rng(0)
IMAGE = ("image", TensorProto.FLOAT, ["N", 3, 16, 16])


def weights(**shapes):
    return {
        name: (RANDOM.standard_normal(shape) / 4).astype(np.float32)
        for name, shape in shapes.items()
    }


def saved(path, nodes, held, inputs=(IMAGE,), *, old=False):
    """A file; an old one lists its weights as inputs."""
    given = [helper.make_tensor_value_info(*one) for one in inputs]
    if old:
        listed = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in held.items()
        ]
        given = [*listed, *given]
    kind = helper.np_dtype_to_tensor_dtype(next(iter(held.values())).dtype)
    graph = helper.make_graph(
        nodes,
        "net",
        given,
        [helper.make_tensor_value_info("scores", kind, ["N", 4])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    versions = [helper.make_opsetid("", 9 if old else 13)]
    number = 3 if old else 8
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=number), path)
    return path


def convolution(image="image", weight="conv.weight"):
    return [
        helper.make_node("Conv", [image, weight], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "head.weight", "bias"], ["scores"], transB=1),
    ]


HELD = weights(**{"conv.weight": (16, 3, 3, 3), "head.weight": (4, 16)}, bias=4)


def same(path, *feeds):
    """Whether a module answers as its file does."""
    model = load_onnx_model(path, None)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    expected = session.run(None, dict(zip(names, feeds, strict=False)))[0]
    found = model(*map(torch.from_numpy, feeds)).detach()
    return np.allclose(found, expected, atol=1e-5)


PHOTO = RANDOM.standard_normal((1, 3, 16, 16)).astype(np.float32)


def test_weights_that_are_listed_as_inputs_are_none(tmp_path):
    path = saved(tmp_path / "old.onnx", convolution(), HELD, old=True)
    assert load_onnx_model(path, None).input_names == ("image",)


def test_any_name_of_a_weight_will_do(tmp_path):
    held = {**HELD, "training.weight": HELD["conv.weight"]}
    path = saved(tmp_path / "a.onnx", convolution(weight="training.weight"), held)
    assert same(path, PHOTO)


def test_one_weight_at_two_sizes_is_padded_for_each(tmp_path):
    how = {"auto_pad": "SAME_UPPER", "strides": [2, 2], "kernel_shape": [3, 3]}
    held = weights(w=(3, 3, 3, 3), **{"head.weight": (4, 3)})
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], **how),  # 16 to 8
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[4, 4], strides=[1, 1]),
        helper.make_node("Conv", ["b", "w"], ["c"], **how),  # 5 to 3
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "head.weight"], ["scores"], transB=1),
    ]
    assert same(saved(tmp_path / "c.onnx", nodes, held), PHOTO)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"inputs": (("image", TensorProto.FLOAT, [4, 3, 16, 16]),)}, "takes 4 rows"),
        (
            {"held": {name: value.astype(np.float16) for name, value in HELD.items()}},
            "is in float16: give the file in float32",
        ),
    ],
)
def test_what_is_fixed_otherwise_is_said(change, complaint, tmp_path):
    inputs = change.get("inputs", (IMAGE,))
    if "held" in change:
        inputs = (("image", TensorProto.FLOAT16, IMAGE[2]),)
    held = change.get("held", HELD)
    path = saved(tmp_path / "d.onnx", convolution(), held, inputs)
    with pytest.raises(WorkloadError, match=complaint):
        load_onnx_model(path, None)


def two_images(path):
    """Two images, of which the left one counts twice."""
    other = ("left", *IMAGE[1:])
    nodes = [
        helper.make_node("Add", ["left", "left"], ["twice"]),
        helper.make_node("Add", ["twice", "right"], ["both"]),
        *convolution("both"),
    ]
    return saved(path, nodes, HELD, (other, ("right", *IMAGE[1:])))


def photos(**names):
    return {
        name: RANDOM.standard_normal((40, 3, 16, 16)).astype(np.float32)
        for name in names
    }


def compressed(path, data, out):
    np.savez(out.parent / "data.npz", **data)
    return edgeprune.compress(
        str(path),
        str(out.parent / "data.npz"),
        max_macs="70%",
        target=FAKE,
        effort="quick",
        max_drop=100,
        train=False,
        precision="fp32",
        out=out,
    )


def test_data_may_have_the_inputs_in_another_order(tmp_path):
    path = two_images(tmp_path / "two.onnx")
    data = photos(right=0, left=0)
    done = compressed(path, data, tmp_path / "run")
    assert done.report.status == "met", done.report.sentence
    session = ort.InferenceSession(
        done.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    given = {name: value[:1] for name, value in data.items()}
    with pytest.raises(WorkloadError, match=r"two.onnx': give that file, as load"):
        edgeprune.load(done.folder)
    found = done.model(**{name: torch.from_numpy(one) for name, one in given.items()})
    assert np.allclose(session.run(None, given)[0], found.detach(), atol=1e-4)


def test_inputs_that_the_file_has_not_are_named(tmp_path):
    path = two_images(tmp_path / "two.onnx")
    with pytest.raises(edgeprune.EdgepruneError, match="inputs are left, right; given"):
        compressed(path, photos(right=0, wrong=0), tmp_path / "run")


def test_what_a_file_takes_need_not_be_said(tmp_path):
    """Neither of one input nor of several, and folders of images are scaled to it."""
    path = two_images(tmp_path / "two.onnx")
    settings = GroupsSettings(model=str(path), target=FAKE)
    assert groups_settings(settings, SILENT, timed=False).groups
    one = saved(tmp_path / "one.onnx", convolution(), HELD)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for at in range(12):
            colour = (80 * (name == "cats"), at, 40)
            photo = Image.new("RGB", (20, 20), colour)
            photo.save(tmp_path / "photos" / name / f"{at}.png")
    for data in (str(tmp_path / "photos"), "noise"):
        asked = {"model": str(one), "data": data, "task": "agreement"}
        loaded = load_workload(CompressSettings(**asked), SILENT)
        assert loaded.data.sample_shape == (3, 16, 16)


def test_bytes_go_in_as_bytes(tmp_path):
    nodes = [
        helper.make_node("Cast", ["pixels"], ["image"], to=TensorProto.FLOAT),
        *convolution(),
    ]
    pixels = ("pixels", TensorProto.UINT8, IMAGE[2])
    path = saved(tmp_path / "bytes.onnx", nodes, HELD, (pixels,))
    found = RANDOM.integers(0, 255, (40, 3, 16, 16)).astype(np.int64)
    done = compressed(path, {"pixels": found}, tmp_path / "run")
    page = (done.folder / "handover" / "README.md").read_text()
    assert "ByteArray" in page
    assert ".uInt8" in page
    shares = {"pixels": (found / 255).astype(np.float32)}
    with pytest.raises(WorkloadError, match=r"'pixels' of the file takes uint8"):
        compressed(path, shares, tmp_path / "other")
