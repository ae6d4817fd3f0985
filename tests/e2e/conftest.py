"""Whole runs share a cache: the latency table of a network is measured once."""

import pytest


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture(autouse=True)
def _own_cache(shared_cache, monkeypatch):
    """In place of one for each test."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(shared_cache))
