"""A scope that keeps what is held: whatever ends the renewals, its body does not go on."""

from __future__ import annotations

import asyncio
import sys

import pytest

from kontinue import errors
from kontinue.sync.holding.held import Holding, Keeper


class Failing(Keeper[Holding]):
    """Its renewals fail at once; ``dropped`` is what was given back after that."""

    failure: Exception | None = ValueError("an object that nobody can read")

    async def take(self) -> Holding:
        self.dropped: list[Holding] = []
        return Holding("me")

    async def keep(self, held: Holding) -> str:
        if self.failure is not None:
            raise self.failure
        return "it has expired"

    async def release(self, held: Holding, error: BaseException | None) -> None:
        raise AssertionError("it is lost")

    async def drop(self, held: Holding) -> None:
        self.dropped.append(held)


class Expiring(Failing):
    """Is told that it has expired."""

    failure = None


async def body(scope: Keeper[Holding]) -> None:
    """Work for ever."""
    async with scope:
        await asyncio.Event().wait()


async def test_renewals_that_fail_in_an_unknown_way_are_a_loss():
    """Nobody renews it any more, so others will have it: the body is cancelled and told why."""
    told: list[bool] = []
    scope = Failing(lambda held: told.append(held.is_lost))
    with pytest.raises(errors.LockLost, match="ValueError: an object that nobody can read"):
        await body(scope)
    assert told == [True]
    assert len(scope.dropped) == 1


async def test_a_callback_that_raises_does_not_keep_the_body_going():
    """What it raises is raised at the end of the scope, after what was lost has been given back."""

    def fail(held: Holding) -> None:
        raise ZeroDivisionError

    scope = Expiring(fail)
    with pytest.raises(ZeroDivisionError):
        await body(scope)
    assert len(scope.dropped) == 1
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


class Outer(Keeper[Holding]):
    """Held around another one; says what has happened."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    async def take(self) -> Holding:
        return Holding("me, around it")

    async def keep(self, held: Holding) -> str:
        await asyncio.Event().wait()
        raise AssertionError("it never ends")

    async def release(self, held: Holding, error: BaseException | None) -> None:
        await asyncio.sleep(0)
        self.said.append("outer one released")

    async def drop(self, held: Holding) -> None:
        raise AssertionError("it is not lost")


def test_a_callback_that_exits_has_all_that_is_held_given_back():
    """It unwinds the body like what any other code raises there: raised by a task it would end the loop at once."""
    said: list[str] = []
    inner = Expiring(lambda held: sys.exit(3))

    async def main() -> None:
        try:
            async with Outer(said):
                await body(inner)
        finally:
            said.append("program ended")

    with pytest.raises(SystemExit) as exited:
        asyncio.run(main())
    assert exited.value.code == 3
    assert len(inner.dropped) == 1
    assert said == ["outer one released", "program ended"]


class Interrupted(Outer):
    """A Ctrl-C hits a step of its renewals."""

    async def keep(self, held: Holding) -> str:
        await asyncio.sleep(0)
        raise KeyboardInterrupt


def test_a_ctrl_c_in_renewals_has_what_is_held_given_back():
    """It was not lost by that."""
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(body(Interrupted(said)))
    assert said == ["outer one released"]


class Lasting(Failing):
    """Is renewed for ever."""

    begins = 0

    async def keep(self, held: Holding) -> str:
        self.begins += 1
        await asyncio.Event().wait()
        raise AssertionError("it never ends")

    async def release(self, held: Holding, error: BaseException | None) -> None:
        self.dropped.append(held)


async def test_what_is_held_is_renewed_when_a_program_has_cancelled_all_its_tasks():
    """Its body was perhaps not cancelled, and would lose it unheard."""
    scope = Lasting()
    async with scope:
        for begins in (1, 2, 3):
            await asyncio.sleep(0.001)
            assert scope.begins == begins
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
    assert len(scope.dropped) == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


class TakenAway(Lasting):
    """Is somebody else's when it is released."""

    async def release(self, held: Holding, error: BaseException | None) -> None:
        raise errors.InvalidState("nobody holds it")


@pytest.mark.parametrize("turns", range(4))
async def test_a_loss_is_told_although_a_program_cancels_all_its_tasks_before_it_is_released(turns: int):
    """Nothing was sent that could have released it."""
    leaves = asyncio.Event()

    async def leave() -> None:
        async with TakenAway():
            leaves.set()

    leaving = asyncio.create_task(leave())
    await leaves.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task(), leaving}:
        task.cancel()
    with pytest.raises(errors.LockLost, match="nobody holds it: it has ended before it was released"):
        await leaving
