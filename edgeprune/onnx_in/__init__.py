"""Networks that are there as ONNX files only: read, run in torch, written again."""
