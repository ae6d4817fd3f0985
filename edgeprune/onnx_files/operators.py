"""The table of ONNX operators: what is known of those of a file, one row each.

The traced network has a table of its own, `edgeprune.graph.operators`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OnnxOperator:
    """Everything that is known about one ONNX operator.

    Attributes:
        layer: it reads a weight that makes channels.
        convolution: it is one, or a transposed one.
        in_place: ONNX Runtime's kernel on the CPU may write its result into its first
            input, if that is of the same size.
        free: it takes no time of its own.
        int8: ONNX Runtime computes it in int8 on processors, or moves int8 values.
    """

    layer: bool = False
    convolution: bool = False
    in_place: bool = False
    free: bool = False
    int8: bool = False


def _rows(names: str, row: OnnxOperator) -> dict[str, OnnxOperator]:
    return dict.fromkeys(names.split(), row)


ONNX_OPERATORS: dict[str, OnnxOperator] = {
    "Conv": OnnxOperator(layer=True, convolution=True, int8=True),
    "ConvTranspose": OnnxOperator(layer=True, convolution=True),
    **_rows("Gemm MatMul", OnnxOperator(layer=True, int8=True)),
    **_rows(
        "Add Clip Flatten LeakyRelu Mul Relu Reshape Sigmoid Squeeze Unsqueeze",
        OnnxOperator(in_place=True, int8=True),
    ),
    **_rows(
        "Div Elu FusedConv HardSigmoid HardSwish PRelu Sub Tanh",
        OnnxOperator(in_place=True),
    ),
    **_rows(
        "AveragePool Concat Gather GlobalAveragePool MaxPool Pad Resize Slice Softmax "
        "Split Transpose Where",
        OnnxOperator(int8=True),
    ),
    "Identity": OnnxOperator(in_place=True, free=True),
    **_rows("QuantizeLinear DequantizeLinear", OnnxOperator(free=True)),
}
UNKNOWN = OnnxOperator()


def onnx_operator(kind: str) -> OnnxOperator:
    """Look up an operator by its kind, such as Conv."""
    return ONNX_OPERATORS.get(kind, UNKNOWN)
