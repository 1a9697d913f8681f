"""API servers that a test starts, kills and starts again on the data they had: the local one, or a real one.

``Cluster`` runs a worker against one of them.
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Protocol

import yaml

import kube
from ports import free_port
from servers import CRDS, Server, install_crd

READY_S = 60.0
"""For tests that have failed: a slow machine takes some seconds to start or stop a process."""


class StartableServer(Protocol):
    """What tests do with either.

    Attributes:
        kubeconfig: file for clients; there once it has started.
        log: what to show when something fails.
    """

    kubeconfig: Path
    log: Path

    @property
    def pid(self) -> int:
        """The process that ``kill`` kills."""

    def start(self) -> None:
        """Start it and wait until it answers; again after ``kill``."""

    def kill(self) -> None:
        """SIGKILL it and wait for its end."""

    def stop(self) -> None:
        """End it in order; fine if it has ended."""

    def metrics(self) -> str:
        """Return what it says about itself in Prometheus' text format."""


def startable(kind: str, folder: Path) -> StartableServer:
    """Return the ``local`` or a real (``kube``) server, not yet started, that keeps everything in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return LocalStartable(folder) if kind == "local" else KubeStartable(folder)


class LocalStartable:
    """``kontinue apiserver`` on one folder and one port."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.log = folder / "apiserver.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._port = free_port()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "kontinue_engine.apiserver"]
        command += ["--data-dir", str(self._folder), "--port", str(self._port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API server is not ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(READY_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def metrics(self) -> str:
        return fetch_metrics(self.kubeconfig)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5),
        ):
            return True
        return False


class KubeStartable:
    """A control plane of its own; what is killed and comes back is kube-apiserver."""

    def __init__(self, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._folder = folder / "control-plane"
        self.kubeconfig = self._folder / "kubeconfig"
        self.log = self._folder / "kube-apiserver.log"
        self.plane: kube.ControlPlane | None = None

    @property
    def pid(self) -> int:
        assert self.plane is not None
        return self.plane.processes["kube-apiserver"].pid

    def start(self) -> None:
        if self.plane is not None:
            self.plane.start_apiserver()
            return
        self.plane = plane = self._stack.enter_context(kube.own_control_plane(self._folder))
        server = Server("kube", plane.url, plane.token, plane.ca_file, plane.kubeconfig)
        for file in sorted(CRDS.glob("*.yaml")):
            install_crd(server, yaml.safe_load(file.read_text()))

    def kill(self) -> None:
        assert self.plane is not None
        self.plane.kill("kube-apiserver")

    def stop(self) -> None:
        self._stack.close()
        self.plane = None

    def metrics(self) -> str:
        return fetch_metrics(self.kubeconfig)


def fetch_metrics(kubeconfig: Path) -> str:
    """Return the metrics of the server of a kubeconfig."""
    access = kube.read_kubeconfig(kubeconfig)
    request = urllib.request.Request(f"{access.url}/metrics", headers={"Authorization": f"Bearer {access.token}"})
    context = ssl.create_default_context(cadata=access.ca_pem) if access.ca_pem else None
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return str(answer.read().decode())
