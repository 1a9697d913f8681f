"""Runs the two API servers that one test is run against: the local one, and a real kube-apiserver.

``running`` is what the fixtures ``server`` of tests/conformance and tests/clients are made of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import kube

CRDS = Path(__file__).parents[2] / "crds"
FORGETFUL = Path(__file__).parent / "forgetful_server.py"
KINDS = ("local", "kube")


@dataclasses.dataclass(frozen=True)
class Server:
    """A running API server.

    Attributes:
        kind: ``local`` or ``kube``; a test may ask only to reach what clients cannot (a restart), never to expect less.
        url: address.
        token: of an administrator.
        ca_file: what its certificate is signed by; None: plain HTTP.
        kubeconfig: file for clients.
        forget_history: makes it forget the states before now; None: nobody here can.
        is_ours: whether it ends with the tests.
    """

    kind: str
    url: str
    token: str
    ca_file: Path | None
    kubeconfig: Path
    forget_history: Callable[[], None] | None = None
    is_ours: bool = True

    def leave(self, namespace: str) -> None:
        """Delete a namespace that a test has used, unless it ends with the server.

        The namespaces of hundreds of tests keep a real control plane so busy that others wait half a minute for theirs.
        """
        if not self.is_ours:
            self.request("DELETE", f"/api/v1/namespaces/{namespace}")

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request outside any event loop; returns the JSON, raises HTTPError."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else None
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """Serve kontinue's CRDs, from the local server (``local``) or a real one (``kube``)."""
    if kind == "local":
        with _local(folder) as found:
            yield found
        return
    with kube.control_plane(folder) as plane:
        found = Server(
            "kube",
            plane.url,
            plane.token,
            plane.ca_file,
            plane.kubeconfig,
            plane.forget_history,
            is_ours=not isinstance(plane, kube.Existing),
        )
        for file in sorted(CRDS.glob("*.yaml")):
            install_crd(found, yaml.safe_load(file.read_text()))
        yield found


@contextlib.contextmanager
def _local(folder: Path) -> Iterator[Server]:
    command = [sys.executable, str(FORGETFUL), "--data-dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline() or "{}")
        assert "url" in ready, (folder / "log").read_text()
        kubeconfig = folder / "kubeconfig"
        token = re.search(r"token: (\S+)", kubeconfig.read_text())
        assert token
        forget_history = functools.partial(process.send_signal, signal.SIGUSR1)
        yield Server("local", ready["url"], token[1], None, kubeconfig, forget_history)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def install_crd(server: Server, crd: dict[str, Any]) -> None:
    """Create or update a CustomResourceDefinition and wait until its resource is served."""
    collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        server.request("POST", collection, crd)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise AssertionError(error.read()) from error
        path = f"{collection}/{crd['metadata']['name']}"
        version = server.request("GET", path)["metadata"]["resourceVersion"]
        # Of a cluster that was there before: an update that changes nothing writes nothing.
        server.request("PUT", path, {**crd, "metadata": {**crd["metadata"], "resourceVersion": version}})
    spec = crd["spec"]
    served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}?limit=1"
    kube.until(lambda: server.request("GET", served), what=f"{served} is served")
    document = f"/openapi/v3/apis/{spec['group']}/{spec['versions'][0]['name']}"
    kube.until(lambda: server.request("GET", document), what=f"{document} is there")  # a real server's comes later
