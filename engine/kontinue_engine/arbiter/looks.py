"""Internal. Looks at objects that are asked for, several at once, one at a time each. Used by ``caretaker``.

What goes wrong with one object concerns that one alone: all others are looked after meanwhile.
"""

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
LONGEST_PAUSE_S: Final = 300.0
"""After many faults of ours in a row, each after twice the pause of the last one. Judgement."""
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
        on_fault: told what else it has raised, a fault of ours; it is called again after growing pauses.
    """

    def __init__(
        self, kind: str, look_at: Callable[[Key], Awaitable[None]], on_fault: Callable[[Key, Exception], None]
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._kind = kind
        self._look_at = look_at
        self._on_fault = on_fault
        self._faults: dict[Key, int] = {}
        """In a row."""

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(LOOKS_AT_ONCE):
                tasks.create_task(self._run(), name=f"{self._kind}/{number}")

    def again_in(self, key: Key, due_s: float) -> None:
        """Look at one again when something is due."""
        self.queue.add_after(key, min(due_s, max(due_s / 2, LOOK_AGAIN_S)))

    def forget(self, key: Key) -> None:
        """Drop what is due of one that is gone, and what went wrong with it."""
        self.queue.forget(key)
        self._faults.pop(key, None)

    async def _run(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._look_at(key)
                self._faults.pop(key, None)
            except errors.ApiError as error:
                _log.warning("not looked after", kind=self._kind, object="/".join(key), error=str(error))
                self.queue.add_after(key, RETRY_S)
            except Exception as error:  # noqa: BLE001 - one odd object must not end what all others need
                faults = self._faults[key] = self._faults.get(key, 0) + 1
                self.queue.add_after(key, min(LONGEST_PAUSE_S, RETRY_S * 2.0 ** min(faults - 1, 32)))
                self._on_fault(key, error)
            finally:
                self.queue.done(key)
