"""Internal. A runner's memory: when it is recycled, when it is killed, and whether the kernel has done so.

``judge`` and ``OomKills`` decide and are pure; ``used_bytes`` looks. Called by ``pool.supply`` about once a second, and
when a runner has ended; never while something is dispatched.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec
import psutil

RECYCLE_SHARE: Final = 0.8
"""Part of its limit above which a runner is recycled, if nobody says otherwise. Judgement: what leaks slowly then ends
with its work done, and not with a kill."""


class MemoryRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner may use.

    Attributes:
        limit_bytes: it is killed above it; None for no limit.
        recycle_above_bytes: it is drained and replaced above it; None means never.
    """

    limit_bytes: int | None = None
    recycle_above_bytes: int | None = None

    @property
    def lowest_bytes(self) -> int | None:
        """Below it nothing is done; None: nothing is ever done."""
        return min((one for one in (self.limit_bytes, self.recycle_above_bytes) if one is not None), default=None)


def make_rules(limit_bytes: int | None, recycle_above_bytes: int | None) -> MemoryRules:
    """Return the rules for what was asked for: without a word about recycling, a part of the limit."""
    if recycle_above_bytes is None and limit_bytes is not None:
        recycle_above_bytes = int(limit_bytes * RECYCLE_SHARE)
    return MemoryRules(limit_bytes=limit_bytes, recycle_above_bytes=recycle_above_bytes)


class Measure(enum.Enum):
    """What to do about a runner."""

    NOTHING = "Nothing"
    RECYCLE = "Recycle"
    KILL = "Kill"


def judge(used_bytes: int, rules: MemoryRules, *, has_worked: bool) -> Measure:
    """Return what to do about a runner that uses so much.

    Args:
        used_bytes: by the runner alone.
        rules: what it may use.
        has_worked: whether it has started anything: one that is as large when it is new would be as large again.
    """
    if rules.limit_bytes is not None and used_bytes > rules.limit_bytes:
        return Measure.KILL
    if rules.recycle_above_bytes is not None and used_bytes > rules.recycle_above_bytes and has_worked:
        return Measure.RECYCLE
    return Measure.NOTHING


class OomKills:
    """Tells whether the kernel may have killed a process that is found dead.

    It counts kills in the container, and does not say whose. So: has it counted one about since the look before the
    last? Somebody who sends SIGKILL within a second or two of one is taken for the kernel.
    """

    def __init__(self, count: int | None) -> None:
        self._before = self._last = count

    def look(self, count: int | None) -> None:
        """Take what the kernel has counted by now; None if it cannot be read."""
        self._before, self._last = self._last, count

    def has_struck(self, count: int | None) -> bool:
        """Tell whether what has just been found dead may have been its victim."""
        return count is not None and self._before is not None and count > self._before


def used_bytes(pid: int, at_least: int) -> int:
    """Return the resident bytes of a process, of pages that it shares only its part; 0 if it is gone.

    The part costs the kernel some milliseconds: it is asked only if there are more than ``at_least`` with all pages.
    """
    try:
        process = psutil.Process(pid) if pid > 0 else None
        if process is None or (resident := int(process.memory_info().rss)) <= at_least:
            return 0 if process is None else resident
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(memory, "pss", memory.rss))
