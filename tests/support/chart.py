"""The chart kontinue-worker, rendered by helm, and its pods as plain processes.

``make kube`` builds helm. There is no kubelet: ``Pod`` starts what the manifest's container would start, with its
command, arguments and environment, so that the manifest itself is what a test runs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import kube
from api import unique
from startable import READY_S

FOLDER = Path(__file__).parents[2] / "helm" / "kontinue-worker"
REQUIRED = ("--set", "image=registry.example/shop:1", "--set", "app=app:app")
KUBE_VERSION = "1.36.3"
"""What helm is told that it talks to: a build of our own believes in an old one."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    program = kube.program_folder() / "helm"
    if not program.exists():
        reason = f"no helm in {program.parent}: run make kube"
        if os.environ.get("KONTINUE_REQUIRE_KUBE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(*options: str, release: str = "shop", namespace: str = "default") -> subprocess.CompletedProcess[str]:
    """Render the chart."""
    return helm("template", release, str(FOLDER), "--kube-version", KUBE_VERSION, "--namespace", namespace, *options)


def render(*options: str, release: str = "shop", namespace: str = "default") -> dict[str, dict[str, Any]]:
    """Render the chart with what it requires; returns the objects by kind."""
    done = template(*REQUIRED, *options, release=release, namespace=namespace)
    assert done.returncode == 0, done.stderr
    objects = [document for document in yaml.safe_load_all(done.stdout) if document]
    by_kind = {one["kind"]: one for one in objects}
    assert len(by_kind) == len(objects)
    return by_kind


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the worker's container."""
    (one,) = objects["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(one)


class Pod:
    """A process in place of a pod of the chart's StatefulSet.

    Args:
        folder: for its log.
        objects: the rendered chart.
        number: of the replica; it gets an address of loopback of its own.
        kubeconfig: stands in for the service account's files.
        launcher: what the command is started by.
    """

    def __init__(
        self,
        folder: Path,
        objects: dict[str, dict[str, Any]],
        number: int,
        kubeconfig: Path,
        launcher: Sequence[str] = (),
    ) -> None:
        self.name = f"{objects['StatefulSet']['metadata']['name']}-{number}"
        self.ip = f"127.0.0.{number + 1}"
        self.log = folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._number = number
        self._objects = objects
        self._namespace = objects["StatefulSet"]["metadata"]["namespace"]
        self._container = container(objects)
        self._kubeconfig = kubeconfig
        self._launcher = launcher

    def of(self, objects: dict[str, dict[str, Any]]) -> Pod:
        """Return the pod that takes its place when the chart has changed."""
        return Pod(self.log.parent, objects, self._number, self._kubeconfig, self._launcher)

    def started_by(self, launcher: Sequence[str]) -> Pod:
        """Return the same pod, started by another program."""
        return Pod(self.log.parent, self._objects, self._number, self._kubeconfig, launcher)

    def start(self) -> None:
        """Start it as a new pod."""
        fields = {
            "metadata.uid": str(uuid.uuid4()),
            "metadata.name": self.name,
            "metadata.namespace": self._namespace,
            "status.podIP": self.ip,
        }
        declared = {
            one["name"]: one.get("value") or fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in self._container["env"]
        }
        arguments = [_expanded(text, declared) for text in self._container["args"]]
        (program,) = self._container["command"]
        environment = {**declared, "PATH": os.defpath, "KUBECONFIG": str(self._kubeconfig)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._launcher, Path(sys.executable).parent / program, *arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.log.parent,
            )

    def probe(self, probe: str) -> int:
        """Ask as a kubelet would; returns the status, or 0 if nobody answers."""
        asked = self._container[probe]["httpGet"]
        (port,) = (one["containerPort"] for one in self._container["ports"] if one["name"] == asked["port"])
        try:
            with urllib.request.urlopen(f"http://{self.ip}:{port}{asked['path']}", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def until_ready(self) -> None:
        """Wait until its readiness probe succeeds."""
        assert self.process is not None
        deadline = time.monotonic() + READY_S
        while self.probe("readinessProbe") != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} is not ready (exit {self.process.poll()}):\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(READY_S)

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _expanded(text: str, environment: dict[str, str]) -> str:
    """Replace $(NAME), as a kubelet does."""
    return re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text)


def new_namespace() -> str:
    """Return a name for a namespace that no other test uses."""
    return unique("chart")
