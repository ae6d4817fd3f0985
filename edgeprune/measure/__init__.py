"""Measure: what does this network take on the target? Its files, and their times."""
