"""A task whose work several wait for goes on, whoever cancels all tasks."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from kontinue.client.shared_task import SharedTask


class Work:
    """Notes its begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.begins = 0
        self.is_needed = True
        self.may_end = asyncio.Event()
        self.task = SharedTask(self._do, name="shared", is_needed=lambda: self.is_needed)

    async def _do(self) -> None:
        self.begins += 1
        await self.may_end.wait()


class Interrupting(asyncio.Event):
    """Is hit by a Ctrl-C."""

    async def wait(self) -> Literal[True]:
        raise KeyboardInterrupt


def cancel_all() -> None:
    """Do as programs that end."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("has_begun", [True, False], ids=["under way", "before its first step"])
async def test_who_is_cancelled_by_others_begins_again(has_begun: bool):
    """As long as it is needed."""
    work = Work()
    work.task.start()
    if has_begun:
        await settle()
    cancel_all()
    await settle()
    assert work.begins == 1 + has_begun
    assert work.task.is_running
    work.is_needed = False
    cancel_all()
    await settle()
    assert work.begins == 1 + has_begun
    assert not work.task.is_running


async def test_who_is_stopped_stays_so_until_it_is_started():
    """Its owner may await its end, whoever has cancelled it before."""
    work = Work()
    assert work.task.stop() is None
    work.task.start()
    await settle()
    stopped = work.task.stop()
    assert stopped is not None
    assert not work.task.is_running
    await asyncio.wait([stopped])
    await settle()
    assert work.begins == 1
    work.task.start()
    await settle()
    assert work.begins == 2
    assert work.task.is_running
    work.task.stop()


@pytest.mark.parametrize("is_started", [True, False], ids=["started", "stopped"])
async def test_who_is_stopped_and_perhaps_started_at_once_runs_as_its_owner_says(is_started: bool):
    """Also before the task that was stopped has heard of it."""
    work = Work()
    work.task.start()
    await settle()
    cancelled = work.task.stop()
    assert cancelled is not None
    if is_started:
        work.task.start()
    await asyncio.wait([cancelled])
    await settle()
    assert work.begins == 1 + is_started
    assert work.task.is_running is is_started
    work.task.stop()


async def test_who_has_finished_does_not_begin_again():
    """Its work is done."""
    work = Work()
    work.task.start()
    work.may_end.set()
    await settle()
    assert work.begins == 1
    assert not work.task.is_running


def test_who_is_hit_by_a_ctrl_c_begins_again_in_a_loop_that_goes_on():
    """As notebooks run theirs; those who wait were not hit."""
    work = Work()
    work.may_end = Interrupting()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        work.task.start()
        await settle()

    async def end() -> None:
        ended = work.task.stop()
        assert ended is not None
        await asyncio.wait([ended])

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(begin())
        work.may_end = asyncio.Event()
        loop.run_until_complete(settle())
        assert work.begins == 2
        assert work.task.is_running
        loop.run_until_complete(end())
    finally:
        loop.close()
