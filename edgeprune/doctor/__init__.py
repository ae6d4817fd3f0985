"""Doctor: what is wrong with an ONNX file on a target, what it costs, what helps."""
