"""A worker, mostly sharded, as a process of its own, as a pod would run it: started again, frozen, killed.

Each has a pod uid, so that replicas do not look at each other's processes, as in a cluster: a dead one is known by its
Lease alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from startable import READY_S

LEASE_S = 7
RENEW_S = 0.5
FAST = ("--lease-duration", str(LEASE_S), "--lease-renew", str(RENEW_S), "--grace", "0.5")
"""The shortest Lease that can be kept (it is fenced 5 s before its end), and little patience at the end."""


class Replica:
    """One replica; ``log`` is what all its processes have written."""

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        app: str,
        app_dir: Path,
        shard: str,
        *options: str,
        sharding: bool = True,
    ) -> None:
        self.shard = shard
        self.log = folder / f"{shard}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._pods = 0
        self._command = [sys.executable, "-m", "kontinue_engine.worker", app, "--app-dir", str(app_dir)]
        self._command += ["--kubeconfig", str(kubeconfig), "--shard", shard, "--sync-runners", "1", *FAST, *options]
        self._command += ["--sharding"] if sharding else []

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self.process is not None
        return self.process.pid

    def start(self, *, same_pod: bool = True, wait: bool = True) -> None:
        """Start it, in the pod it had or in a new one, and wait until it takes work."""
        self._pods += 0 if same_pod and self._pods else 1
        known = self._size()
        with self.log.open("ab") as log:
            pod = {"KONTINUE_POD_UID": f"pod-{self.shard}-{self._pods}"}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env={**os.environ, **pod})
        if wait:
            self.wait_for("worker ready", since=known)

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it; its runners die with it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to end in order; returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """Wait for its end, and bring it about if need be."""
        assert self.process is not None
        try:
            self.process.wait(READY_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait(self) -> int:
        """Wait until it has ended; returns its exit status."""
        assert self.process is not None
        return self.process.wait(READY_S)

    def events(self, event: str, *, since: int = 0) -> list[dict[str, Any]]:
        """Return the log lines with that event, from byte ``since`` on."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(since)
            lines = [json.loads(line) for line in file if line.startswith(b"{") and line.endswith(b"\n")]
        return [line for line in lines if line.get("event") == event]

    def wait_for(self, event: str, *, since: int = 0) -> None:
        """Wait until it has logged that."""
        assert self.process is not None
        deadline = time.monotonic() + READY_S
        while not self.events(event, since=since):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text()[-4000:]
                raise RuntimeError(f"{self.shard} has not logged {event!r} (exit {self.process.poll()}):\n{tail}")
            time.sleep(0.02)

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


@contextmanager
def replicas(
    folder: Path, kubeconfig: Path, app: str, app_dir: Path, *shards: str, options: tuple[str, ...] = ()
) -> Iterator[list[Replica]]:
    """Run one replica per shard until the block ends."""
    started = [Replica(folder, kubeconfig, app, app_dir, shard, *options) for shard in shards]
    try:
        for replica in started:
            replica.start(wait=False)
        for replica in started:
            replica.wait_for("worker ready")
        yield started
    finally:
        living = [one for one in started if one.process is not None and one.process.poll() is None]
        for replica in living:
            replica.signal(signal.SIGTERM)  # gives its Leases back, which the next test may need
        for replica in living:
            replica.end()
