"""The loop of a test environment: order, time that is moved, timers that do not move it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from kontinue_engine.testing.virtual_loop import TURN, VirtualClock, VirtualLoop, housekeeping

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(lambda: None)


def run_all(loop: VirtualLoop) -> None:
    while loop.has_ready:
        loop.run()


def test_timers_fire_in_order_when_time_is_moved_and_not_before(loop: VirtualLoop) -> None:
    """Equal ones as they were made; canceled ones never."""
    fired: list[str] = []
    loop.call_later(5, fired.append, "b")
    loop.call_later(1, fired.append, "a")
    loop.call_later(5, fired.append, "c")
    loop.call_later(2, fired.append, "canceled").cancel()
    run_all(loop)
    assert fired == []
    assert loop.next_time_s() == 1
    loop.move_to(5)
    run_all(loop)
    assert fired == ["a", "b", "c"]
    assert loop.next_time_s() is None


def test_timers_of_housekeeping_do_not_move_time_but_fire_with_it(loop: VirtualLoop) -> None:
    """Also those that a task makes which was begun by housekeeping; in the order of their times."""
    fired: list[str] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            fired.append("tick")

    with housekeeping():
        loop.create_task(tick())
    run_all(loop)
    loop.call_later(60, fired.append, "timer")
    assert loop.next_time_s() == 60
    loop.move_to(60)
    run_all(loop)
    assert fired == ["timer", "tick"]  # the task goes on one callback later
    loop.cancel_tasks()
    run_all(loop)


def test_asyncio_works_on_it_in_no_time(loop: VirtualLoop) -> None:
    """Tasks, timeouts, events and groups."""

    async def work() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            sleeps = [tasks.create_task(asyncio.sleep(n, n)) for n in (30, 10, 20)]
        return f"{[task.result() for task in sleeps]} at {loop.time()}"

    task = loop.create_task(work())
    run_all(loop)
    while not task.done():
        loop.move_to(loop.next_time_s() or 0)
        run_all(loop)
    assert task.result() == "[30, 10, 20] at 3630.0"


def test_a_turn_has_an_end(loop: VirtualLoop) -> None:
    """A burst of callbacks lets the loop of the test have its turns in between."""
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        loop.call_soon(again)

    again()
    loop.run()
    assert count == TURN + 1


def test_it_is_the_running_loop_within_a_turn_only(loop: VirtualLoop) -> None:
    """Code of the engine finds it; code of the test never does."""
    seen: list[object] = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    loop.run()
    assert seen == [loop]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_exceptions_that_nobody_takes_are_kept(loop: VirtualLoop) -> None:
    """A bug of the engine does not vanish in a log."""
    loop.call_soon(lambda: 1 / 0)
    run_all(loop)
    assert [type(error) for error in loop.failures] == [ZeroDivisionError]


def test_the_clock_shows_the_loops_time(loop: VirtualLoop) -> None:
    """Wall time from where it began, to the millisecond."""
    clock = VirtualClock(loop, START)
    assert clock.now() == START
    loop.move_to(86_400.0005)
    assert clock.now_ms() == round(START.timestamp() * 1000) + 86_400_000
    assert clock.monotonic_s() == 86_400.0005
