"""Internal. Whether something that held a mutex or a slot still runs somewhere. Pure.

Terminal is not the same as stopped: a client's cancel is terminal at once, its code ends later. What an Execution held
is free when its owner has written Stopped, or that owner is dead. Who gives things on (``mutexes``, ``limits``) asks
for an Execution that it does not see any more, and keeps an ``Inquiry`` until the answer is clear.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

SEEN_AGAIN_S: Final = 2.0
"""Until one that should be seen and is not is asked for: watches are that late at most. Judgement."""
ASK_AGAIN_S: Final = 1.0
"""Between two questions while its code is being stopped, which takes up to five seconds. Judgement."""
STOPPING_MARGIN_S: Final = 15.0
"""Until a live replica has seen that something has ended, and has said that it has stopped, at most. Judgement."""
STOPPING_S: Final = 5.0 + STOPPING_MARGIN_S
"""How long such a replica takes at most for all that, with the time that code has by default to clean up; the Lease
duration comes on top."""


class Fate(enum.Enum):
    """What has become of an Execution."""

    LIVE = "Live"
    """It has not ended."""
    STOPPED = "Stopped"
    """Nothing of it runs any more."""
    UNSURE = "Unsure"
    """It has ended, or is gone; its code may still be stopping."""


def judge(*, is_terminal: bool, is_stopped: bool, is_owner_gone: bool) -> Fate:
    """Return the fate of an Execution that exists.

    Args:
        is_terminal: it has ended.
        is_stopped: its owner has written so.
        is_owner_gone: the incarnation that has run it has lost its Lease, as the API server says; that no Lease of it
            was seen is not enough.
    """
    if not is_terminal:
        return Fate.LIVE
    return Fate.STOPPED if is_stopped or is_owner_gone else Fate.UNSURE


class Inquiry(msgspec.Struct, kw_only=True):
    """Questions about one Execution that is not seen any more.

    Attributes:
        due_s: when to ask; monotonic.
        is_asked: the answer is under way.
        unsure_since_s: since when it was found to have ended without a word of its owner.
    """

    due_s: float
    is_asked: bool = False
    unsure_since_s: float | None = None

    def answer(self, fate: Fate, now_s: float, *, patience_s: float) -> bool:
        """Take an answer; True if nothing of it can run any more.

        Nobody says Stopped of one that was deleted, or that ended before anybody had written it: such a one counts as
        stopped once every live replica would have stopped it, and every other one has lost its Lease.
        """
        self.is_asked = False
        match fate:
            case Fate.STOPPED:
                return True
            case Fate.LIVE:
                self.unsure_since_s = None
                self.due_s = now_s + SEEN_AGAIN_S
                return False
            case Fate.UNSURE:
                if self.unsure_since_s is None:
                    self.unsure_since_s = now_s
                self.due_s = now_s + ASK_AGAIN_S
                return now_s - self.unsure_since_s >= patience_s

    def failed(self, now_s: float) -> None:
        """There was no answer."""
        self.is_asked = False
        self.due_s = now_s + SEEN_AGAIN_S
