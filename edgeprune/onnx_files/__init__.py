"""ONNX files as they are: their graphs, operators and versions; needs no torch."""
