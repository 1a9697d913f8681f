"""Two API servers, one behaviour: every test here runs against the local server and a real kube-apiserver.

Each runs as processes of its own for the whole session; a test gets a namespace of its own and must leave nothing
cluster-wide behind that another test could meet.
"""

from __future__ import annotations

import dataclasses
import json
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kube
from api import Api, unique

CRDS = Path(__file__).parents[2] / "crds"


@dataclasses.dataclass(frozen=True)
class Server:
    """A running API server.

    Attributes:
        kind: ``local`` or ``kube``; a test may ask only to reach what clients cannot (a restart), never to expect less.
        url: address.
        token: of an administrator.
        ca_file: what its certificate is signed by; None: plain HTTP.
        kubeconfig: file for clients.
    """

    kind: str
    url: str
    token: str
    ca_file: Path | None
    kubeconfig: Path

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request outside any event loop; returns the JSON, raises HTTPError."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else None
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="session", params=["local", "kube"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve kontinue's CRDs, from the local server or a real one."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "local":
        yield from _local(folder)
        return
    with kube.control_plane(folder) as plane:
        found = Server("kube", plane.url, plane.token, plane.ca_file, plane.kubeconfig)
        for file in sorted(CRDS.glob("*.yaml")):
            install_crd(found, yaml.safe_load(file.read_text()))
        yield found


def _local(folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "kontinue_engine.apiserver", "--data-dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline() or "{}")
        assert "url" in ready, (folder / "log").read_text()
        kubeconfig = folder / "kubeconfig"
        token = re.search(r"token: (\S+)", kubeconfig.read_text())
        assert token
        yield Server("local", ready["url"], token[1], None, kubeconfig)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def install_crd(server: Server, crd: dict[str, Any]) -> None:
    """Create a CustomResourceDefinition unless it is there, and wait until its resource is served."""
    collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        server.request("POST", collection, crd)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise AssertionError(error.read()) from error
    spec = crd["spec"]
    served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}?limit=1"
    kube.until(lambda: server.request("GET", served), what=f"{served} is served")


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client of the server in a new namespace."""
    client = Api(server.url, server.token, namespace=unique("test"), ca_file=server.ca_file)
    status, body = await client.send("POST", "/api/v1/namespaces", {"metadata": {"name": client.namespace}})
    assert status == 201, body
    yield client
    await client.send("DELETE", f"/api/v1/namespaces/{client.namespace}")
    await client.close()
