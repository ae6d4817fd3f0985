"""Quantise: the int8 file that loses least and wins milliseconds, or none."""
