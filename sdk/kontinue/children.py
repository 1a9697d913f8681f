"""Handles of spawned children, for async and for sync functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Generic, TypeVar

from kontinue.durable_timeout import DurableTimeout
from kontinue.ports import AsyncPort, SyncPort
from kontinue.replay.call import Call

R_co = TypeVar("R_co", covariant=True)


class Child(Generic[R_co]):
    """A child Execution of an async function: await it for its result.

    To stop waiting (a timeout, a lost race) does not cancel the child: ``cancel`` does. A child that nobody has
    awaited when the function returns is canceled.
    """

    def __init__(self, port: AsyncPort, call: Call) -> None:
        self.name = port.child_name(call)
        """Name of the Execution."""
        self._port = port
        self._call = call
        self._arrived = port.start_call(call)

    def __await__(self) -> Generator[Any, None, R_co]:
        yield from asyncio.shield(self._arrived).__await__()
        result: R_co = self._call.result()
        return result

    async def result(self, *, timeout: timedelta | None = None) -> R_co:  # noqa: ASYNC109
        """Wait for the child and return its result.

        Raises:
            ChildFailed: it failed or was canceled.
            WaitTimeout: it takes longer than ``timeout``; it goes on.
        """
        async with DurableTimeout(timeout, f"child {self.name}"):
            return await self

    async def cancel(self, message: str = "") -> None:
        """Ask for the child to be canceled. Awaiting it then raises ChildFailed, unless it ended before."""
        self._port.cancel_child(self._call, message)


class SyncChild(Generic[R_co]):
    """A child Execution of a sync function. If nobody has waited for it when the function returns, it is canceled."""

    def __init__(self, port: SyncPort, call: Call, wait_for: Callable[..., Any]) -> None:
        self.name = port.child_name(call)
        """Name of the Execution."""
        self.call = call
        self._port = port
        self._wait_for = wait_for

    def result(self, *, timeout: timedelta | None = None) -> R_co:
        """Wait for the child and return its result.

        Raises:
            ChildFailed: it failed or was canceled.
            WaitTimeout: it takes longer than ``timeout``; it goes on.
        """
        result: R_co = self._wait_for(self, timeout)
        return result

    def cancel(self, message: str = "") -> None:
        """Ask for the child to be canceled. Its ``result`` then raises ChildFailed, unless it ended before."""
        self._port.cancel_child(self.call, message)
