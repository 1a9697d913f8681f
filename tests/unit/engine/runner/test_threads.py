"""Threads that run jobs beside each other: none waits for another that blocks."""

from __future__ import annotations

import threading

import pytest

from kontinue_engine.runner import breakdown
from kontinue_engine.runner.threads import Threads

LIMIT_S = 20.0


@pytest.fixture
def threads() -> Threads:
    return Threads()


def test_jobs_run_beside_each_other_while_all_of_them_block(threads: Threads) -> None:
    """Twenty jobs that wait for one another all get a thread."""
    barrier = threading.Barrier(21, timeout=LIMIT_S)
    for _ in range(20):
        threads.start(barrier.wait)
    barrier.wait()


def test_jobs_queued_behind_one_that_never_returns_are_run(threads: Threads) -> None:
    """Short jobs share threads, but not the one that is blocked."""
    gate = threading.Event()
    ran = [threading.Event() for _ in range(100)]
    threads.start(gate.wait)
    for event in ran:
        threads.start(event.set)
    assert all(event.wait(LIMIT_S) for event in ran)
    gate.set()


def test_every_job_of_many_bursts_runs_once(threads: Threads) -> None:
    """However starts and ends fall together, no job is lost."""
    for _ in range(300):
        left = threading.Semaphore(0)
        for _ in range(7):
            threads.start(left.release)
        for _ in range(7):
            assert left.acquire(timeout=LIMIT_S)
        assert not left.acquire(blocking=False)


def test_a_job_that_raises_ends_the_process(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a bug in kontinue: what the job was about would hang for ever."""
    ended = threading.Event()
    monkeypatch.setattr(breakdown, "end_process", ended.set)

    def broken() -> None:
        raise SystemExit("no reason")

    threads.start(broken)
    assert ended.wait(LIMIT_S)


def test_jobs_run_once_the_system_has_threads_again(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused thread is an error for who asked, and no lock-out for who comes later."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done = [threading.Event(), threading.Event()]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.start(done[0].set)
    threads.start(done[1].set)
    assert all(event.wait(LIMIT_S) for event in done)
