"""Internal. What a test wants to crash: after which durable calls the runner dies, and how often.

Pure. ``kontinue_engine.testing.runners`` asks whenever records are about to be written, and once they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.replay.records import RecordKind
from kontinue_engine.wire.frames import EncodedRecord


class _Read(msgspec.Struct):
    kind: RecordKind
    name: str


_decode: Final = msgspec.json.Decoder(_Read).decode


class _Plan(msgspec.Struct):
    """``names`` empty: every durable call, each of them ``times`` times; else ``times`` in all for each name."""

    names: frozenset[str]
    times: int
    is_recorded: bool
    struck: Counter[tuple[str, ...]]


class Crashes:
    """All that is planned."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []

    def add(self, names: Sequence[str], *, times: int, is_recorded: bool) -> None:
        """Plan crashes after these durable calls, or after every one."""
        self._plans.append(_Plan(frozenset(names), times, is_recorded, Counter()))

    def strike_records(self, uid: str, records: Sequence[EncodedRecord], *, is_recorded: bool) -> str:
        """Return the name of the step after which the runner of an Execution dies now; empty if it lives.

        Args:
            uid: of the Execution.
            records: of what has just ended. Children and timers count when they end: see ``strike``.
            is_recorded: whether they are about to be acknowledged, or not written yet.
        """
        for record in records:
            read = _decode(record.json)
            if read.kind is RecordKind.STEP and self._strike(uid, record.step, read.name, (is_recorded,)):
                return read.name
        return ""

    def strike(self, uid: str, step: str, name: str) -> bool:
        """Tell whether the runner dies when a child or timer has ended, which is recorded by itself."""
        return self._strike(uid, step, name, (False, True))

    def _strike(self, uid: str, step: str, name: str, occasions: Sequence[bool]) -> bool:
        for plan in self._plans:
            if plan.is_recorded not in occasions or (plan.names and name not in plan.names):
                continue
            key = (name,) if plan.names else (uid, step)
            if plan.struck[key] < plan.times:
                plan.struck[key] += 1
                return True
        return False

    def missed(self) -> list[str]:
        """Return the names of calls that were to crash, and never ended."""
        return sorted(name for plan in self._plans for name in plan.names if not plan.struck[(name,)])
