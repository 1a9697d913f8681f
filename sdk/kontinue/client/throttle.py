"""Client-side limit on requests per second: a token bucket, as client-go has it, so that scripts stay polite.

Asked by the client before every request; watches and what the shared wait reads are not counted.
"""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger(__name__)


class Throttle:
    """Lets ``burst`` requests pass at once and ``qps`` per second on average. Time is the running loop's."""

    def __init__(self, qps: float | None, burst: int) -> None:
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._filled_s: float | None = None
        self._warned = False

    async def wait(self) -> None:
        """Wait for a turn; turns are given in the order of the calls."""
        if self._qps is None:
            return
        now_s = asyncio.get_running_loop().time()
        since_s = 0.0 if self._filled_s is None else now_s - self._filled_s
        self._filled_s = now_s
        # Below zero it counts those who wait already.
        self._tokens = min(float(self._burst), self._tokens + since_s * self._qps) - 1.0
        if self._tokens >= 0:
            return
        if not self._warned:
            self._warned = True
            _log.warning(
                "requests are being throttled to %g per second; ClientOptions(qps=None) switches this off", self._qps
            )
        await asyncio.sleep(-self._tokens / self._qps)
