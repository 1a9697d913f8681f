"""A local API server and a worker as processes of their own, for benchmarks and fault tests.

Both are started as ``kontinue dev`` starts them; the caller is the client.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

READY_S = 30.0


class Cluster:
    """Processes: ``server`` and ``worker``; files: ``data_dir/kubeconfig`` and logs beside it."""

    def __init__(
        self,
        data_dir: Path,
        app: str,
        *,
        app_dir: Path,
        worker_options: tuple[str, ...] = (),
        environment: Mapping[str, str] = {},
    ) -> None:
        self.data_dir = data_dir
        self.kubeconfig = data_dir / "kubeconfig"
        self._app = app
        self._app_dir = app_dir
        self._worker_options = worker_options
        self._environment = dict(environment)
        self._port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.start_server()
        self.start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.worker, self.server):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def start_server(self) -> None:
        """Start the API server and wait until it answers."""
        self.server = self._start("apiserver", ["--data-dir", str(self.data_dir), "--port", str(self._port)])
        deadline = time.monotonic() + READY_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=1):
                    return
            except OSError:
                self._check(self.server, "apiserver", deadline)
                time.sleep(0.02)

    def start_worker(self, *, wait: bool = True) -> None:
        """Start a worker and wait until it takes work."""
        log = self.data_dir / "worker.log"
        start = log.stat().st_size if log.exists() else 0
        options = ["--app-dir", str(self._app_dir), "--kubeconfig", str(self.kubeconfig), *self._worker_options]
        self.worker = self._start("worker", [self._app, *options])
        deadline = time.monotonic() + READY_S
        while wait and not self.events("worker ready", since=start):
            self._check(self.worker, "worker", deadline)
            time.sleep(0.02)

    def restart_worker(self, environment: Mapping[str, str]) -> None:
        """Stop the worker and start another one, with other environment variables: a deployment."""
        assert self.worker is not None
        self.worker.terminate()
        self.worker.wait(20)
        self._environment = dict(environment)
        self.start_worker()

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
        """Return the pids of the runners that live now: the grandchildren of the worker."""
        assert self.worker is not None
        return [pid for zygote in children_of(self.worker.pid) for pid in children_of(zygote)]

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal; a process that is gone already is fine."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def token(self) -> str:
        """Return the bearer token of the kubeconfig."""
        import yaml

        return str(yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"])

    def writes(self) -> int:
        """Return how many writes of Executions the server has counted."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/metrics", headers={"Authorization": f"Bearer {self.token()}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in text.splitlines()
            if line.startswith("kontinue_apiserver_writes_total") and 'resource="executions' in line
        )

    def _start(self, module: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.data_dir / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"kontinue_engine.{module}", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )

    def _check(self, process: subprocess.Popen[bytes], name: str, deadline: float) -> None:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = (self.data_dir / f"{name}.log").read_text()[-4000:]
            raise RuntimeError(f"{name} is not ready (exit status {process.poll()}):\n{tail}")


def children_of(pid: int) -> list[int]:
    """Return the pids of the children of a process."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [int(text) for text in task.read_text().split()]
        except OSError:
            continue
    return pids


def free_port() -> int:
    """Ask the kernel for a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
