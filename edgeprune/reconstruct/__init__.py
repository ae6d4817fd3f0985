"""Accuracy without training: weights fitted by least squares, statistics anew."""
