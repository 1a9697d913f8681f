"""Internal. The clock for everything that is decided or recorded; whoever decides or records is given a ``Clock``.

Tests pass a clock of their own. Mere durations within one process (``pool``: how long a function is active, stamps of
log lines) are read from ``time`` where they are needed. Sleeping is the event loop's business, not the clock's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

_MONOTONIC: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC: for what is written into objects. It may jump."""
        ...

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never jumps back and goes on while the machine sleeps."""
        ...


class SystemClock:
    """The machine's clocks. Monotonic time is CLOCK_BOOTTIME: a Lease runs out also while a laptop sleeps."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC."""
        return datetime.now(UTC)

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since boot, sleep of the machine included."""
        return time.clock_gettime(_MONOTONIC)
