"""What must be done before anybody leaves is done, whoever is cancelled."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kontinue import errors
from kontinue.sync.holding.shielded import LAST_TRIES_S, shielded
from virtual_time import elapsed_s, virtual_time


class Work:
    """Takes a second; notes how often it was begun, and whether it was done."""

    def __init__(self, *, takes_s: float = 1, fails: bool = False) -> None:
        self.begins = 0
        self.is_done = False
        self._takes_s = takes_s
        self._fails = fails

    async def __call__(self) -> str:
        self.begins += 1
        await asyncio.sleep(self._takes_s)
        self.is_done = True
        if self._fails:
            raise ValueError("the server was away")
        return "done"


class Interrupted(Work):
    """Hears of a Ctrl-C at its first begin."""

    async def __call__(self) -> str:
        if not self.begins:
            self.begins += 1
            raise KeyboardInterrupt
        return await super().__call__()


def begun(work: Work) -> asyncio.Task[str]:
    """Have somebody do it."""
    return asyncio.create_task(shielded(work, "giving back"))


def cancel_all(but: asyncio.Task[str] | None = None) -> None:
    """Do as programs that end."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), but}:
        task.cancel()


@virtual_time
async def test_who_is_not_cancelled_gets_its_result_or_what_it_raises():
    """As if it had been awaited."""
    assert await shielded(Work(), "giving back") == "done"
    with pytest.raises(ValueError, match="the server was away"):
        await shielded(Work(fails=True), "giving back")


@virtual_time
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_who_is_cancelled_leaves_once_it_is_done(times: int, after: int):
    """However often, and however soon."""
    work = Work()
    caller = begun(work)
    for _ in range(after):
        await asyncio.sleep(0)
    for _ in range(times):
        caller.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (work.begins, work.is_done) == ((1, True) if after else (0, False))


@virtual_time
async def test_what_a_program_has_cancelled_with_all_its_tasks_is_begun_again():
    """Its caller hears nothing of it if he was not cancelled."""
    work = Work()
    caller = begun(work)
    for _ in range(3):
        await asyncio.sleep(0.5)
        cancel_all(but=caller)
    assert await caller == "done"
    assert work.begins == 4
    assert elapsed_s() == 2.5


@virtual_time
async def test_who_is_cancelled_with_all_tasks_leaves_once_it_is_done():
    """As at the end of ``asyncio.run``."""
    work = Work()
    caller = begun(work)
    await asyncio.sleep(0.5)
    cancel_all()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.begins == 2
    assert work.is_done
    assert elapsed_s() == 1.5


@virtual_time
async def test_a_program_that_ends_waits_some_seconds_at_most(caplog: pytest.LogCaptureFixture):
    """A second Ctrl-C is not to wait for a server that is away; what is left behind is said."""
    work = Work(takes_s=1000)
    caller = begun(work)
    await asyncio.sleep(0.5)
    cancel_all()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert elapsed_s() == 0.5 + LAST_TRIES_S
    assert [one.getMessage() for one in caplog.records] == [
        "giving back has failed: giving back was cut off by this program"
    ]


@virtual_time
async def test_who_is_not_cancelled_hears_that_it_was_cut_off_again_and_again():
    """No cancel that nobody has sent him."""
    caller = begun(Work(takes_s=1000))
    for _ in range(2):
        await asyncio.sleep(LAST_TRIES_S)
        cancel_all(but=caller)
    with pytest.raises(errors.Unavailable, match="giving back was cut off by this program"):
        await caller


@virtual_time
async def test_who_is_cancelled_long_after_it_was_cut_off_leaves_it_time():
    """It was tried for a while already."""
    work = Work(takes_s=2 * LAST_TRIES_S)
    caller = begun(work)
    await asyncio.sleep(1)
    cancel_all(but=caller)
    await asyncio.sleep(1.5 * LAST_TRIES_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.is_done


def test_what_a_ctrl_c_interrupts_is_begun_again():
    """Where it is in a step of the work itself, not in its caller's."""
    work = Interrupted(takes_s=0)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(shielded(work, "giving back"))
    assert (work.begins, work.is_done) == (2, True)


@virtual_time
async def test_a_program_that_goes_on_cancelling_all_its_tasks_ends():
    """Some do until none is left."""
    caller = begun(Work(takes_s=1000))
    await asyncio.sleep(0.5)
    while not caller.done():
        cancel_all()
        await asyncio.sleep(0.001)
    assert caller.cancelled()
    assert elapsed_s() < 0.6 + LAST_TRIES_S


@virtual_time
async def test_what_fails_after_its_caller_was_cancelled_is_logged(caplog: pytest.LogCaptureFixture):
    """Nobody else would hear of it."""
    caller = begun(Work(fails=True))
    await asyncio.sleep(0.5)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "giving back has failed: the server was away")
