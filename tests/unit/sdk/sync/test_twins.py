"""What is there with an event loop is there without one, and what all kinds have, all have."""

from __future__ import annotations

import pytest

from kontinue import sync

KINDS = ["Barrier", "Gate", "Lease", "Mutex", "Once", "RWMutex", "Semaphore", "WaitGroup"]


def _public(name: str) -> set[str]:
    return {one for one in dir(getattr(sync, name)) if not one.startswith("_")}


@pytest.mark.parametrize("kind", KINDS)
def test_threads_have_what_tasks_have(kind: str):
    """Each method has its blocking twin."""
    assert _public(kind) == _public(f"Sync{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_created_read_and_deleted(kind: str):
    """By the same names."""
    assert {"create", "get", "status", "delete"} <= _public(kind)
