"""``TestExecution``: what ``TestEnvironment.spawn`` returns."""

from __future__ import annotations

from typing import Generic, TypeVar

from kontinue.api.v1alpha1 import ChildPolicy, Execution
from kontinue.client.handle import ExecutionHandle
from kontinue.errors import ExecutionEnded
from kontinue_engine.testing.suspension import TestSuspension, find_open
from kontinue_engine.testing.world import World

R_co = TypeVar("R_co", covariant=True)


class TestExecution(Generic[R_co]):
    """An Execution of a test environment."""

    __test__ = False

    def __init__(self, world: World, handle: ExecutionHandle[R_co]) -> None:
        self._world = world
        self._handle = handle

    @property
    def name(self) -> str:
        """Name of the Execution."""
        return self._handle.name

    @property
    def writes(self) -> int:
        """API writes that it has taken so far, with everything that it has started; not Events and Leases."""
        return self._world.writes(self.name)

    async def result(self) -> R_co:
        """Let time pass until it has ended, and return its result.

        Raises:
            ExecutionFailed, ExecutionCanceled: it ended otherwise; with the traceback of the function.
            ExecutionBlocked: the code asks for something else than what is recorded; with both sides.
            Stuck: it has not ended, and nothing will happen by itself any more.
        """
        try:
            return await self._world.call(self._handle.result())
        except ExecutionEnded as error:
            for note in self._world.notes(error):
                error.add_note(note)
            raise

    async def get(self) -> Execution:
        """Read it as it is now: an API object, with phase, what it waits for, attempts ... Time stands still."""
        return await self._world.call(self._world.client.get(self.name))

    async def suspension(self, display_name: str = "") -> TestSuspension:
        """Let time pass until it waits for what its function calls ``display_name``: a suspend, or a long sleep.

        Raises:
            Stuck: it never does; names what it has waited for.
        """
        return TestSuspension(self._world, await find_open(self._world, self.name, display_name))

    async def cancel(self, message: str = "Canceled by the test") -> None:
        """Cancel it and everything that it has started, as a client does.

        Raises:
            InvalidState: it has ended already.
        """
        await self._world.call(self._world.client.cancel(self._handle, message=message))

    async def skip(self, result: object = None, *, message: str = "Skipped by the test") -> None:
        """End it as if it had returned ``result``, as a client does: whoever waits for it gets that.

        Raises:
            InvalidResult: its function returns nothing like that.
            InvalidState: it has ended already.
        """
        await self._world.call(self._world.client.skip(self._handle, result=result, message=message))

    async def retry(self, *, child_policy: ChildPolicy | str = ChildPolicy.RETRY_FAILED) -> None:
        """Ask for another attempt of one that has failed or was canceled, as a client does.

        Raises:
            InvalidState: it has not ended so.
        """
        await self._world.call(self._world.client.retry_execution(self._handle, child_policy=child_policy))

    def __repr__(self) -> str:
        return f"<TestExecution {self.name}>"
