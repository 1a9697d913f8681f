"""Internal. What a test wants to crash: after which durable calls the runner dies, and how often.

Pure. ``kontinue_engine.testing.runners`` asks whenever records are about to be written, and once they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue_engine.wire.frames import EncodedRecord


class _Named(msgspec.Struct):
    name: str


_decode: Final = msgspec.json.Decoder(_Named).decode


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

    def strike(self, uid: str, records: Sequence[EncodedRecord], *, is_recorded: bool) -> str:
        """Return the name of the call after which the runner of an Execution dies now; empty if it lives.

        Args:
            uid: of the Execution.
            records: of the calls that have just ended.
            is_recorded: whether they are about to be acknowledged, or not written yet.
        """
        for plan in self._plans:
            if plan.is_recorded is not is_recorded:
                continue
            for record in records:
                name = _decode(record.json).name
                if plan.names and name not in plan.names:
                    continue
                key = (name,) if plan.names else (uid, record.step)
                if plan.struck[key] < plan.times:
                    plan.struck[key] += 1
                    return name
        return ""

    def missed(self) -> list[str]:
        """Return the names of calls that were to crash, and never ended."""
        return sorted(name for plan in self._plans for name in plan.names if not plan.struck[(name,)])
