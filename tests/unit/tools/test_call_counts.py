"""Counts of calls are the same whenever they are taken."""

import gc

from call_counts import calls_in


def test_the_garbage_collector_is_not_counted():
    """Whoever it calls: it begins when enough has been allocated, by whatever ran before."""
    called = []

    def note(*args):
        called.append(args)

    def allocate():
        return [[number] for number in range(5000)]

    gc.callbacks.append(note)
    try:
        allocate()
        assert called
        called.clear()
        assert len({calls_in(allocate) for _ in range(3)}) == 1
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled()
