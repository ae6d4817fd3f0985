"""Estimate: what would a device take that nobody has connected?

From times that were published or measured there before, by the kinds of work that a
network consists of. Every figure is an estimate, comes with an interval, and says so.
"""
