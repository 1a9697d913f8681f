"""Internal. Whose turn it is among the Executions that a predecessor left behind. Pure.

An inherited Execution is claimed (written Executing) before it runs. Claiming all of them at once would charge each for
the next crash of the worker, whether it ran or not, and write them all at start-up. So they wait here, and are admitted
as far as runners have room. ``controllers.execution`` asks; fresh Executions never come here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

SYNC_WINDOW_PER_RUNNER: Final = 2
"""One runs, one is ready to follow (judgement)."""
ASYNC_WINDOW: Final = 64
"""Judgement: enough to keep an event loop busy with I/O."""


class Backlog:
    """First come, first admitted, per colour.

    Args:
        windows: how many admitted Executions of each colour may be unparked at a time.
    """

    def __init__(self, windows: Mapping[str, int]) -> None:
        self._windows = windows
        self._waiting: dict[str, deque[str]] = {colour: deque() for colour in windows}
        self._known: set[str] = set()
        self._admitted: dict[str, str] = {}
        self._in_window = dict.fromkeys(windows, 0)

    def __len__(self) -> int:
        """Return how many wait, or are admitted and need room."""
        return len(self._known) + len(self._admitted)

    def add(self, uid: str, colour: str) -> None:
        """Let an Execution wait for its turn; idempotent."""
        if uid not in self._known and uid not in self._admitted:
            self._known.add(uid)
            self._waiting[colour].append(uid)

    def release(self, uid: str) -> None:
        """It needs no room any more: it is parked, has ended, or is gone. Unknown ones are fine."""
        self._known.discard(uid)
        colour = self._admitted.pop(uid, None)
        if colour is not None:
            self._in_window[colour] -= 1

    def admit(self) -> list[str]:
        """Return the uids whose turn it is now."""
        admitted = []
        for colour, waiting in self._waiting.items():
            while waiting and self._in_window[colour] < self._windows[colour]:
                uid = waiting.popleft()
                if uid in self._known:
                    self._known.discard(uid)
                    self._admitted[uid] = colour
                    self._in_window[colour] += 1
                    admitted.append(uid)
        return admitted
