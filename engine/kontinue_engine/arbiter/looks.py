"""Internal. Looks at objects that are asked for, several at once, one at a time each. Used by ``caretaker``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from kontinue import errors
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.telemetry.logs import get_logger

LOOKS_AT_ONCE: Final = 8
"""Judgement: many objects are dealt with within a second, and others have room."""
RETRY_S: Final = 1.0
"""After a refusal. Judgement."""
LOOK_AGAIN_S: Final = 60.0
"""Clocks are set and laptops sleep, so what is due later is looked at after half of its time, but not before this."""

Key = tuple[str, str]
"""Namespace and name."""

_log = get_logger(__name__)


class Looks:
    """Looks at objects when there is news of them, several at once, one at a time each.

    Args:
        kind: of the objects.
        look_at: decides about one and carries it out. A refusal has it called again after a moment.
    """

    def __init__(self, kind: str, look_at: Callable[[Key], Awaitable[None]]) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._kind = kind
        self._look_at = look_at

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(LOOKS_AT_ONCE):
                tasks.create_task(self._run(), name=f"{self._kind}/{number}")

    def again_in(self, key: Key, due_s: float) -> None:
        """Look at one again when something is due."""
        self.queue.add_after(key, min(due_s, max(due_s / 2, LOOK_AGAIN_S)))

    async def _run(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._look_at(key)
            except errors.ApiError as error:
                _log.warning("not looked after", kind=self._kind, object="/".join(key), error=str(error))
                self.queue.add_after(key, RETRY_S)
            finally:
                self.queue.done(key)
