"""Replicas as pods of a StatefulSet: what ends is started again under its shard id, in its pod or in a new one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

from chaos.app import GROUP
from cluster import children_of, runners_of
from replica import Replica

LEASE_S = 8
FENCE_S = 3
"""After so long without a renewal a replica stops by itself: five seconds before the end of its Lease."""
OPTIONS = ("--lease-duration", str(LEASE_S), "--lease-renew", "1", "--crash-budget", "10", "--grace", "2")
SUPPORT = Path(__file__).parents[1]
ENDS_IN_ORDER, LOST_ITS_LEASE = 0, 3
POLL_S = 0.02


class Pod(Replica):
    """One replica and the kubelet that looks after it.

    Args:
        folder: for its log.
        kubeconfig: of the API server.
        shard: its id.
        app: what it runs.
        group: of that.

    Attributes:
        ends: exit statuses of its processes so far, counted.
        next_in_new_pod: whether what ends next is deleted, so that its pod comes back with another uid.
        pause_s: how long it is gone then.
    """

    def __init__(
        self, folder: Path, kubeconfig: Path, shard: str, *, app: str = "chaos.app:app", group: str = GROUP
    ) -> None:
        super().__init__(folder, kubeconfig, app, SUPPORT, shard, "--group", group, *OPTIONS)
        self.ends: Counter[int] = Counter()
        self.next_in_new_pod = False
        self.pause_s = 0.0
        self._started_at = 0

    async def run(self) -> None:
        """Start it again whenever it ends, until cancelled; then it is stopped."""
        try:
            while True:
                self._started_at = self.log.stat().st_size if self.log.exists() else 0
                self.start(same_pod=not self.next_in_new_pod, wait=False)
                self.next_in_new_pod, self.pause_s = False, 0.0
                self.ends[await self.ended()] += 1
                await asyncio.sleep(self.pause_s)
        finally:
            self.end()

    def end(self) -> None:
        """SIGKILL it, frozen or not; its runners die with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def ended(self) -> int:
        """Wait until the process that runs now has ended; returns its exit status."""
        process = self.process
        assert process is not None
        while (status := process.poll()) is None:
            await asyncio.sleep(POLL_S)
        return status

    @property
    def is_ready(self) -> bool:
        """Whether the process that runs now takes work."""
        lives = self.process is not None and self.process.poll() is None
        return lives and bool(self.events("worker ready", since=self._started_at))

    def runner_pids(self) -> list[int]:
        """Return the pids of its runners."""
        return runners_of(self.pid)

    def all_pids(self) -> list[int]:
        """Return the pids of its processes, the supervisor first."""
        return [self.pid, *children_of(self.pid), *self.runner_pids()]


def send_signal(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each that lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def unexpected_ends(pod: Pod) -> list[str]:
    """Say how a pod's processes have ended that must not end so."""
    expected = {ENDS_IN_ORDER, LOST_ITS_LEASE, -signal.SIGKILL, -signal.SIGTERM}
    return [f"{pod.shard} ended {n} times with status {end}" for end, n in pod.ends.items() if end not in expected]


def tracebacks(log: Path) -> list[str]:
    """Return what only a programming error writes into a log: lines that are no JSON, as one violation."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    strange = [line for line in lines if line and not line.startswith("{")]
    return [f"{log.name} has {len(strange)} lines that are no JSON; the last: {strange[-1]}"] if strange else []
