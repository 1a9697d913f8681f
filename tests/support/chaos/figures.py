"""Counts and recovery times, as a table and as one line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from chaos.faults import Fault, Recovery


class Figures:
    """Recovery times by kind of fault."""

    def __init__(self) -> None:
        self._recoveries: dict[str, list[Recovery]] = defaultdict(list)

    def add(self, fault: Fault, recovery: Recovery) -> None:
        """Take a round."""
        self._recoveries[fault.kind].append(recovery)

    def table(self) -> str:
        """Return a Markdown table: p50 and max in seconds, by kind of fault."""
        rows = [
            "| fault | rounds | running work goes on after, p50 / max | a new Execution has ended after, p50 / max |",
            "|---|---|---|---|",
        ]
        for kind, recoveries in sorted(self._recoveries.items()):
            rows.append(f"| {kind} | {len(recoveries)} | {_going_on(recoveries)} | {_fresh(recoveries)} |")
        return "\n".join(rows)

    def summary(self) -> str:
        """Return the same on one line, without new Executions."""
        kinds = sorted(self._recoveries.items())
        return "; ".join(f"{kind} {_going_on(recoveries)}" for kind, recoveries in kinds)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _going_on(recoveries: Sequence[Recovery]) -> str:
    return _p50_max([one.going_on_s for one in recoveries if one.going_on_s is not None])


def _fresh(recoveries: Sequence[Recovery]) -> str:
    return _p50_max([one.fresh_s for one in recoveries])


def _p50_max(seconds: Sequence[float]) -> str:
    return f"{percentile(seconds, 0.5):.1f} / {max(seconds):.1f} s" if seconds else "-"
