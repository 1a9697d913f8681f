"""A namespace of a real control plane with a coordinator, and a node that runs what the Pods of manifests say."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from api_server import ApiServer
from fake_node import FakeNode
from kontinue.kube import requests
from looked_after import World
from polling import eventually

DEPLOYMENTS = requests.Resource("apps", "v1", "deployments", "Deployment")
KINDS = {
    one.kind: one
    for one in (
        *(requests.WAIT_GROUPS, requests.MUTEXES, requests.ONCES, requests.RW_MUTEXES, requests.SEMAPHORES),
        *(requests.BARRIERS, requests.JOBS, DEPLOYMENTS),
    )
}


class ManifestWorld(World):
    """A namespace, seen by a user who applies manifests.

    Attributes:
        node: what runs Pods.
    """

    node: FakeNode

    def __init__(self, server: ApiServer, folder: Path) -> None:
        super().__init__(server.transport(), server.namespace)
        self.node = FakeNode(server, self.transport, folder)
        self._ledger = folder / "ledger"

    @property
    def ledger(self) -> list[str]:
        """Lines that containers have written by ``say``, in their order."""
        return self._ledger.read_text().splitlines() if self._ledger.exists() else []

    def add_image(self, name: str, programs: Mapping[str, str], *, shell: str = "") -> Path:
        """Have an image with these programs, which can ``say`` what they do; see ``FakeNode.add_image``."""
        say = f'echo "$*" >> {self._ledger}\n'
        return self.node.add_image(name, {"say": say, **programs}, shell=shell)

    async def apply(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Create objects.

        Raises:
            ApiError: one is refused.
        """
        for one in manifests:
            await self.transport.send(requests.create(KINDS[one["kind"]], self.namespace, one))

    async def start_job(self, name: str, command: str, *, image: str, count: int = 1) -> None:
        """Create a Job of ``count`` Pods that run a shell's command, each once."""
        shell = {"name": "main", "image": image, "command": ["/bin/sh", "-c"], "args": [f"set -e\n{command}"]}
        pod = {"restartPolicy": "Never", "containers": [shell]}
        spec = {"parallelism": count, "completions": count, "backoffLimit": 0, "template": {"spec": pod}}
        await self.apply([{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}])

    async def kill_pods(self, job: str) -> None:
        """SIGKILL what runs in the Pods of a Job."""
        listing = requests.list_objects(
            requests.PODS, self.namespace, label_selector=f"batch.kubernetes.io/job-name={job}"
        )
        for pod in json.loads(await self.transport.send(listing))["items"]:
            self.node.kill(pod["metadata"]["name"])

    async def job_ends(self, name: str, *, how: str = "Complete") -> None:
        """Wait until a Job has ended, and see that it has ended so."""
        ends: list[str] = []

        async def has_ended() -> bool:
            job = json.loads(await self.transport.send(requests.get(requests.JOBS, self.namespace, name)))
            conditions = job.get("status", {}).get("conditions", ())
            ends[:] = [one["type"] for one in conditions if one["type"] in {"Complete", "Failed"}]
            return bool(ends)

        await eventually(has_ended, pause_s=0.05)
        assert ends == [how], self.ledger


@contextlib.asynccontextmanager
async def manifest_world(server: ApiServer, folder: Path) -> AsyncIterator[ManifestWorld]:
    """Have a coordinator and a node meanwhile."""
    world = ManifestWorld(server, folder)
    try:
        async with world.looked_after(), world.node.running():
            yield world
    finally:
        await world.transport.close()
