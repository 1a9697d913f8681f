"""What is taken by code without an event loop is given back also by who is interrupted when he has it already."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from kontinue import errors
from kontinue.client.event_thread import EventThread
from kontinue.sync.blocking.scopes import taken, within
from kontinue.sync.holding.held import Holding, Keeper

T = TypeVar("T")


@pytest.fixture
def thread() -> Iterator[EventThread]:
    """One that is closed in the end."""
    subject = EventThread()
    yield subject
    subject.close()


@pytest.fixture
def _uninterrupted() -> Iterator[None]:
    """The loop's thread goes on until it waits: what it has begun ends before the interrupt is looked at."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(usual)


def press_ctrl_c() -> None:
    """Interrupt the test."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Lasting(Keeper[Holding]):
    """Says what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []

    async def take(self) -> Holding:
        self.happened.append("taken")
        return Holding("a")

    async def keep(self, held: Holding) -> str:
        await asyncio.Event().wait()
        return "never"

    async def release(self, held: Holding, error: BaseException | None) -> None:
        self.happened.append(f"released after {error!r}")

    async def drop(self, held: Holding) -> None:
        self.happened.append("dropped")


class Kept(Lasting):
    """Interrupts its caller when it is taken."""

    async def take(self) -> Holding:
        press_ctrl_c()
        return await super().take()


@pytest.mark.usefixtures("_uninterrupted")
def test_a_scope_whose_caller_is_interrupted_when_it_has_begun_ends(thread: EventThread) -> None:
    """Else it would be renewed for as long as the client lives, with nobody in it."""
    scope = Kept()
    with pytest.raises(KeyboardInterrupt), within(scope, thread):
        scope.happened.append("entered")
    assert scope.happened == ["taken", "released after KeyboardInterrupt()"]


class Interrupted(EventThread):
    """Is interrupted when it is called for the second time, before it has begun with that."""

    calls = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self.calls += 1
        if self.calls == 2:
            coroutine.close()
            raise KeyboardInterrupt
        return super().run(coroutine)


def test_a_scope_whose_caller_is_interrupted_before_it_ends_ends_all_the_same() -> None:
    """His block was successful, but nobody has given it back."""
    thread = Interrupted()
    scope = Lasting()
    with pytest.raises(KeyboardInterrupt), within(scope, thread):
        scope.happened.append("entered")
    thread.close()
    assert scope.happened == ["taken", "entered", "released after None"]


@pytest.mark.usefixtures("_uninterrupted")
def test_what_was_taken_for_who_is_interrupted_is_given_back(thread: EventThread) -> None:
    """Nobody has been told that it is his."""
    given_back: list[str] = []

    async def take() -> str:
        press_ctrl_c()
        return "lock"

    async def give_back(what: str) -> None:
        given_back.append(what)

    with pytest.raises(KeyboardInterrupt):
        taken(take, give_back, thread)
    assert given_back == ["lock"]


def test_what_could_not_be_taken_is_not_given_back(thread: EventThread) -> None:
    """The caller hears why; who is not interrupted has what he took."""
    given_back: list[str] = []

    async def take(*, fails: bool) -> str:
        if fails:
            raise errors.Held("somebody else's")
        return "lock"

    async def give_back(what: str) -> None:
        given_back.append(what)

    with pytest.raises(errors.Held):
        taken(lambda: take(fails=True), give_back, thread)
    assert taken(lambda: take(fails=False), give_back, thread) == "lock"
    assert given_back == []
