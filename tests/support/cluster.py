"""An API server and a worker as processes of their own, for benchmarks and fault tests.

Both are started as ``kontinue dev`` starts them; the caller is the client. The server is the local one unless told
otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from startable import READY_S, StartableServer, startable
from write_counts import executions_written


class Cluster:
    """A ``server`` and the process ``worker``; files: ``kubeconfig`` and, in ``data_dir``, logs."""

    def __init__(
        self,
        data_dir: Path,
        app: str,
        *,
        app_dir: Path,
        server: str = "local",
        worker_options: tuple[str, ...] = (),
        environment: Mapping[str, str] = {},
    ) -> None:
        self.data_dir = data_dir
        self.server: StartableServer = startable(server, data_dir)
        self.kubeconfig = self.server.kubeconfig
        self._app = app
        self._app_dir = app_dir
        self._worker_options = worker_options
        self._environment = dict(environment)
        self.worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.server.start()
            self.start_worker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.worker is not None and self.worker.poll() is None:
                self.worker.terminate()
                self._reap(self.worker)
        finally:
            self.server.stop()

    def start_worker(self, *, wait: bool = True) -> None:
        """Start a worker and wait until it takes work."""
        log = self.data_dir / "worker.log"
        start = log.stat().st_size if log.exists() else 0
        options = ["--app-dir", str(self._app_dir), "--kubeconfig", str(self.kubeconfig), *self._worker_options]
        with log.open("ab") as output:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "kontinue_engine.worker", self._app, *options],
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment},
            )
        deadline = time.monotonic() + READY_S
        while wait and not self.events("worker ready", since=start):
            if self.worker.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text()[-4000:]
                raise RuntimeError(f"the worker is not ready (exit status {self.worker.poll()}):\n{tail}")
            time.sleep(0.02)

    def restart_worker(self, environment: Mapping[str, str]) -> None:
        """Stop the worker and start another one, with other environment variables: a deployment."""
        assert self.worker is not None
        self.worker.terminate()
        self.worker.wait(READY_S)
        self._environment = dict(environment)
        self.start_worker()

    def kill_worker(self) -> None:
        """SIGKILL the worker; its runners die with it."""
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait()

    def events(self, event: str, *, since: int = 0) -> list[dict[str, Any]]:
        """Return the worker's log lines with that event, from byte ``since`` on."""
        log = self.data_dir / "worker.log"
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(since)
            lines = [line for line in file if line.endswith(b"\n") and line.startswith(b"{")]
        return [line for line in map(json.loads, lines) if line.get("event") == event]

    def runner_pids(self) -> list[int]:
        """Return the pids of the runners that live now."""
        assert self.worker is not None
        return runners_of(self.worker.pid)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal; a process that is gone already is fine."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def writes(self) -> int:
        """Return how many writes of Executions the server has counted."""
        return executions_written(self.server.metrics())

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def runners_of(supervisor: int) -> list[int]:
    """Return the pids of the runners of a supervisor: the children of the guards that its zygote has forked."""
    guards = [pid for zygote in children_of(supervisor) for pid in children_of(zygote)]
    return [pid for guard in guards for pid in children_of(guard)]


def children_of(pid: int) -> list[int]:
    """Return the pids of the children of a process."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [int(text) for text in task.read_text().split()]
        except OSError:
            continue
    return pids
