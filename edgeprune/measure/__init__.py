"""Measure: what does this file take on the target? The worker runs there, we read."""
