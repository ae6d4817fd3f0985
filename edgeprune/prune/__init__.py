"""Prune: which channels go, so that the budget is met at the least loss?"""
