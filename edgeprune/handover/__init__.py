"""Handover: all that whoever builds the model into a product needs, in one folder."""
