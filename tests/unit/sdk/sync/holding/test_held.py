"""A scope that keeps what is held: whatever ends the renewals, its body does not go on."""

from __future__ import annotations

import asyncio

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
