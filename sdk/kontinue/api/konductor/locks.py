"""``konductor.io/v1``: what the kinds share of which somebody holds something: Mutex, RWMutex, Once.

How locks change hands is ``kontinue.api.konductor.locking``'s business, for all kinds alike.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from msgspec import Meta

from kontinue.api.konductor.group import Holder, lasting
from kontinue.api.meta import ApiStruct

MAX_WAITERS: Final = 256
"""Judgement: about 30 KiB, and each write carries them all."""
MAX_ID: Final = 64
MAX_HOLDER: Final = 253

LockId = Annotated[str, Meta(max_length=MAX_ID, description="Of one lock, not of its holder: chosen by who asked.")]
HolderName = Annotated[str, Meta(max_length=MAX_HOLDER, description="What its holder calls itself.")]
Shared = Annotated[bool, Meta(description="A reader, who holds it together with others.")]
BoundTo = Annotated[Holder | None, Meta(description="Pod or Execution whose end releases it.")]


class LockWaiter(ApiStruct, frozen=True):
    """Somebody who waits for a lock."""

    id: LockId = ""
    holder: HolderName = ""
    bound_to: BoundTo = None


def ttl_of(text: str) -> timedelta | None:
    """Return a time to live; None for one that is unset, 0 or makes no sense."""
    return lasting(text)[0]
