"""``TestSuspension``: what ``TestExecution.suspension`` returns."""

from __future__ import annotations

import asyncio
from typing import Final

from kontinue.api import labels
from kontinue.api.v1alpha1 import Suspension
from kontinue.client import resuming
from kontinue_engine.testing.errors import Stuck
from kontinue_engine.testing.virtual_loop import housekeeping
from kontinue_engine.testing.world import World

_FIRST_LOOK_S: Final = 0.001
_LONGEST_LOOK_S: Final = 60.0
"""Of virtual time, between two looks. Judgement: longer than what an Execution needs to be Suspended."""


class TestSuspension:
    """Something that an Execution of a test environment waits for."""

    __test__ = False

    def __init__(self, world: World, suspension: Suspension) -> None:
        self._world = world
        self._suspension = suspension

    @property
    def name(self) -> str:
        """Name of the Suspension."""
        return self._suspension.metadata.name

    async def get(self) -> Suspension:
        """Read it as it is now. Time stands still."""
        return await self._world.call(self._world.client.get_suspension(self.name))

    async def resume(self, payload: object = None) -> None:
        """End the wait, as a client does: ``payload`` is what the function gets.

        Raises:
            InvalidPayload: it does not fit what the function asked for.
            InvalidState: it has been resumed already, or has timed out.
        """
        await self._world.call(self._world.client.resume_suspension(self._suspension, payload))

    def __repr__(self) -> str:
        return f"<TestSuspension {self.name}>"


async def find_open(world: World, execution: str, display_name: str) -> Suspension:
    """Let time pass until an Execution waits for something of that name, and return it.

    Raises:
        Stuck: it never does; names what it has waited for.
    """
    seen: set[str] = set()
    try:
        return await world.call(_look(world, execution, display_name, seen))
    except Stuck as error:
        names = ", ".join(map(repr, sorted(seen))) or "nothing"
        raise Stuck(
            f"{execution} never waits for {display_name!r} (the display_name of a suspend or a long sleep of its own); "
            f"until now it has waited for {names}.\n{error}"
        ) from None


async def _look(world: World, execution: str, display_name: str, seen: set[str]) -> Suspension:
    """Look again and again, with growing pauses. After the longest one, only if time moves for something else."""
    pause_s = _FIRST_LOOK_S
    client = world.client
    while True:
        found = await resuming.fetch_open(client.kube.send, client.namespace, label=labels.PARENT, value=execution)
        seen.update(one.spec.display_name for one in found)
        for one in found:
            if one.spec.display_name == display_name:
                return one
        if pause_s <= _LONGEST_LOOK_S:
            await asyncio.sleep(pause_s)
            pause_s *= 2
            continue
        pause_s = _FIRST_LOOK_S
        with housekeeping():
            await asyncio.sleep(pause_s)
