"""The API server of one test of the engine: the local one in the test's process, or a real one in a fresh namespace.

Made by the fixture ``api_server`` of tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml

from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from startable import fetch_metrics
from write_counts import executions_written

SETTLE_S = 0.1


@dataclasses.dataclass(frozen=True)
class ApiServer:
    """A running API server and a namespace that no other test uses.

    Attributes:
        url: address.
        token: of an administrator.
        ca_file: what its certificate is signed by; None: plain HTTP.
        kubeconfig: file for clients, whose context has the namespace.
        namespace: the test's own.
    """

    url: str
    token: str
    ca_file: Path | None
    kubeconfig: Path
    namespace: str

    @property
    def config(self) -> KubeConfig:
        """Return what the engine's transport needs."""
        return KubeConfig(
            server=self.url,
            token=self.token,
            ca_data=self.ca_file.read_text() if self.ca_file else "",
            namespace=self.namespace,
            source="test",
        )

    def transport(
        self, user_agent: str = "tests", before_write: Callable[[], Awaitable[None]] | None = None
    ) -> KubeTransport:
        """Return a transport to it; the caller closes it."""
        return KubeTransport(self.config, user_agent=user_agent, before_write=before_write)

    async def writes(self) -> int:
        """Return how many writes of Executions it has counted, once the count stands still.

        A real server counts a request after its answer.
        """
        count = -1
        while True:
            before, count = count, executions_written(await asyncio.to_thread(fetch_metrics, self.kubeconfig))
            if count == before:
                return count
            await asyncio.sleep(SETTLE_S)


def kubeconfig_for(namespace: str, original: Path, copy: Path, *, server: str = "") -> Path:
    """Write a kubeconfig whose only difference is its namespace, and its server if one is given."""
    document = yaml.safe_load(original.read_text())
    for cluster in document["clusters"]:
        if server:
            cluster["cluster"]["server"] = server
        if file := cluster["cluster"].get("certificate-authority"):
            cluster["cluster"]["certificate-authority"] = str(original.parent.absolute() / file)
    for context in document["contexts"]:
        if context["name"] == document["current-context"]:
            context["context"]["namespace"] = namespace
    copy.write_text(yaml.safe_dump(document))
    copy.chmod(0o600)
    return copy
