"""Slow studies behind the numbers in the documents; run by name, resumable."""
