"""Single operators of ONNX: those that become torch's, older forms, and the rest."""

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto

from edgeprune.measure.onnx_file import write_onnx

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def whole(*values):
    return np.array(values, dtype=np.int64)


IMAGE = normal(2, 6, 8, 9)
ROWS = normal(2, 5, 6)
OF_VALUES = [
    "Abs",
    "Ceil",
    "Cos",
    "Erf",
    "Exp",
    "Floor",
    "HardSwish",
    "Mish",
    "Neg",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Tan",
    "Tanh",
    "LeakyRelu",
    "Elu",
    "Celu",
    "HardSigmoid",
    "Identity",
    "Dropout",
    "Softmax",
    "LogSoftmax",
]
OF_TWO = [
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "GreaterOrEqual",
    "LessOrEqual",
]
OVER_AXES = [
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
]
CONVERTED = {
    "conv": ("Conv", IMAGE, [normal(4, 6, 3, 3), normal(4)], {"pads": [1, 1, 1, 1]}),
    "conv, uneven": ("Conv", IMAGE, [normal(4, 6, 2, 2)], {"pads": [0, 0, 1, 1]}),
    "conv, in groups": (
        "Conv",
        IMAGE,
        [normal(4, 3, 3, 3)],
        {"group": 2, "strides": [2, 2], "dilations": [1, 2]},
    ),
    "conv, same": (
        "Conv",
        IMAGE,
        [normal(4, 6, 3, 3)],
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    "conv, same lower": (
        "Conv",
        IMAGE,
        [normal(4, 6, 2, 2)],
        {"auto_pad": "SAME_LOWER"},
    ),
    "conv, valid": ("Conv", IMAGE, [normal(4, 6, 2, 2)], {"auto_pad": "VALID"}),
    "conv along time": ("Conv", ROWS, [normal(4, 5, 3), normal(4)], {"pads": [1, 1]}),
    "transposed conv": (
        "ConvTranspose",
        IMAGE,
        [normal(6, 2, 2, 2), normal(4)],
        {"strides": [2, 2], "group": 2, "output_padding": [1, 0]},
    ),
    "gemm": ("Gemm", normal(3, 6), [normal(6, 4), normal(4)], {}),
    "gemm, turned": (
        "Gemm",
        normal(3, 6),
        [normal(4, 6), normal(1, 4)],
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    "product": ("MatMul", ROWS, [normal(6, 4)], {}),
    "product of several": ("MatMul", ROWS, [normal(2, 6, 4)], {}),
    "batch norm": (
        "BatchNormalization",
        IMAGE,
        [normal(6), normal(6), normal(6), abs(normal(6)) + 1],
        {"epsilon": 1e-3},
    ),
    "instance norm": ("InstanceNormalization", IMAGE, [normal(6), normal(6)], {}),
    "layer norm": ("LayerNormalization", ROWS, [normal(6), normal(6)], {}),
    "layer norm, two axes": (
        "LayerNormalization",
        ROWS,
        [normal(5, 6)],
        {"axis": 1, "epsilon": 1e-3},
    ),
    "prelu": ("PRelu", IMAGE, [normal(6, 1, 1)], {}),
    "prelu, with samples": ("PRelu", IMAGE, [normal(1, 6, 1, 1)], {}),
    "prelu, one slope": ("PRelu", IMAGE, [normal(1)], {}),
    "reshape": ("Reshape", IMAGE, [whole(0, 2, -1, 9)], {}),
    "flatten": ("Flatten", IMAGE, [], {}),
    "transpose": ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    "transpose, reversed": ("Transpose", IMAGE, [], {}),
    "squeeze": ("Squeeze", normal(2, 1, 3, 1), [whole(1, -1)], {}),
    "unsqueeze": ("Unsqueeze", ROWS, [whole(1, -1)], {}),
    "expand": ("Expand", normal(2, 1, 3), [whole(4, 1, 5, 1)], {}),
    "tile": ("Tile", ROWS, [whole(1, 2, 3)], {}),
    "concat": ("Concat", ROWS, [normal(2, 5, 6)], {"axis": 1}),
    "split": ("Split", IMAGE, [whole(1, 2, 3)], {"axis": 1}),
    "split, alike": ("Split", IMAGE, [], {"axis": 1, "num_outputs": 3}),
    "slice": ("Slice", IMAGE, [whole(0, 1), whole(2**62, 7), whole(2, 3)], {}),
    "slice, every second": (
        "Slice",
        IMAGE,
        [whole(1), whole(-1), whole(-1), whole(2)],
        {},
    ),
    "gather": ("Gather", IMAGE, [whole(2, 0, -1)], {"axis": 1}),
    "gather one": ("Gather", IMAGE, [np.int64(2)], {"axis": 1}),
    "pad": ("Pad", IMAGE, [whole(0, 1, 2, 0, 0, 0, 1, 3), np.float32(0.5)], {}),
    "pad some axes": ("Pad", IMAGE, [whole(1, 2), None, whole(3)], {}),
    "pad, reflected": (
        "Pad",
        IMAGE,
        [whole(0, 0, 2, 1, 0, 0, 1, 3)],
        {"mode": "reflect"},
    ),
    "pad, edge": ("Pad", IMAGE, [whole(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "edge"}),
    "depth to space": ("DepthToSpace", normal(1, 8, 3, 2), [], {"blocksize": 2}),
    "depth to space, columns": (
        "DepthToSpace",
        normal(1, 8, 3, 2),
        [],
        {"blocksize": 2, "mode": "CRD"},
    ),
    "space to depth": ("SpaceToDepth", normal(1, 3, 4, 6), [], {"blocksize": 2}),
    "resize, twice": (
        "Resize",
        IMAGE,
        [None, np.array([1, 1, 2, 2], dtype=np.float32)],
        {
            "mode": "nearest",
            "nearest_mode": "floor",
            "coordinate_transformation_mode": "asymmetric",
        },
    ),
    "resize, the usual way": (
        "Resize",
        IMAGE,
        [None, np.array([1, 1, 2, 3], dtype=np.float32)],
        {"mode": "nearest"},
    ),
    "resize to sizes": (
        "Resize",
        IMAGE,
        [None, None, whole(2, 6, 13, 5)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "resize, half pixels": (
        "Resize",
        IMAGE,
        [None, None, whole(2, 6, 16, 18)],
        {"mode": "linear"},
    ),
    "resize, cubic": (
        "Resize",
        IMAGE,
        [None, None, whole(2, 6, 16, 18)],
        {"mode": "cubic"},
    ),
    **{kind: (kind, abs(ROWS) + 0.5, [], {}) for kind in ("Log", "Sqrt", "Reciprocal")},
    **{kind: (kind, ROWS, [], {}) for kind in OF_VALUES},
    **{
        f"{kind} with numbers": (kind, ROWS, [np.float32(0.3)], {})
        for kind in ("Add", "Mul", "Sub", "Div", "Greater", "Less", "Equal", "Max")
    },
    **{f"{kind} of tensors": (kind, ROWS, [normal(5, 1)], {}) for kind in OF_TWO},
    "power": ("Pow", abs(ROWS), [np.float32(1.5)], {}),
    "quotient of whole numbers": ("Div", whole(-7, 5, 9), [np.int64(4)], {}),
    "clip": ("Clip", ROWS, [np.float32(-0.5), np.float32(0.7)], {}),
    "clip at one end": ("Clip", ROWS, [None, np.float32(0.7)], {}),
    "relu6": ("Clip", 5 * ROWS, [np.float32(0), np.float32(6)], {}),
    "softmax of an axis": ("Softmax", IMAGE, [], {"axis": 1}),
    **{kind: (kind, IMAGE, [whole(-1, 2)], {"keepdims": 0}) for kind in OVER_AXES},
    "sum of all": ("ReduceSum", IMAGE, [], {}),
    "no sum": ("ReduceSum", IMAGE, [], {"noop_with_empty_axes": 1}),
    "largest": ("ArgMax", IMAGE, [], {"axis": 1}),
    "smallest": ("ArgMin", IMAGE, [], {"axis": -1, "keepdims": 0}),
    "max pool": (
        "MaxPool",
        IMAGE,
        [],
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]},
    ),
    "max pool, uneven": (
        "MaxPool",
        IMAGE,
        [],
        {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1},
    ),
    "average pool": (
        "AveragePool",
        IMAGE,
        [],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    ),
    "average pool, counted": (
        "AveragePool",
        IMAGE,
        [],
        {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1},
    ),
    "global pool": ("GlobalAveragePool", IMAGE, [], {}),
    "largest of all": ("GlobalMaxPool", IMAGE, [], {}),
    "cast": ("Cast", 5 * ROWS, [], {"to": TensorProto.INT64}),
}


OLDER = {
    "slice": ("Slice", IMAGE, [], {"axes": [2], "starts": [1], "ends": [5]}, 9),
    "clip": ("Clip", IMAGE, [], {"min": 0.0, "max": 6.0}, 9),
    "squeeze": ("Squeeze", normal(2, 1, 3), [], {"axes": [1]}, 11),
    "split": ("Split", IMAGE, [], {"axis": 1, "split": [1, 2, 3]}, 11),
    "sum": ("ReduceSum", IMAGE, [], {"axes": [2, 3], "keepdims": 0}, 11),
    "pad": ("Pad", IMAGE, [], {"pads": [0, 0, 1, 1, 0, 0, 0, 0]}, 9),
    "upsample": (
        "Upsample",
        IMAGE,
        [np.array([1, 1, 2, 2], dtype=np.float32)],
        {"mode": "nearest"},
        9,
    ),
    "softmax": ("Softmax", normal(3, 4), [], {}, 11),
}


UNKNOWN = {
    "recurrent": (
        "LSTM",
        normal(7, 1, 6),
        [normal(1, 16, 6), normal(1, 16, 4)],
        {"hidden_size": 4},
        2,
    ),
    "softmax over axes": ("Softmax", IMAGE, [], {"axis": 1}, 1),
    "backwards": (
        "Slice",
        IMAGE,
        [whole(-1), whole(-(2**62)), whole(3), whole(-1)],
        {},
        1,
    ),
    "resize, off by half": (
        "Resize",
        IMAGE,
        [None, np.array([1, 1, 2, 2], dtype=np.float32)],
        {"mode": "nearest", "nearest_mode": "floor"},
        1,
    ),
    "the largest few": ("TopK", ROWS, [whole(2)], {}, 2),
    "uneven pool": (
        "AveragePool",
        IMAGE,
        [],
        {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]},
        1,
    ),
}

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def written(model, folder, x=X, name="net.onnx"):
    torch.manual_seed(0)
    write_onnx(model.eval(), (x[:1],), folder / name)
    return folder / name


def outputs(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: i[None].numpy()})[0] for i in x])
