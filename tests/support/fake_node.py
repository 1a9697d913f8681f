"""A node of a real control plane that runs the containers of Pods as processes of this machine.

It is scheduler and kubelet of one namespace: binds Pods, runs init containers and containers, starts them again as
their restartPolicy says, writes statuses, and ends what is deleted. An image is a folder: its programs come first on
PATH, its root is the working folder, and ``/bin/sh`` is the image's own if it has one. Volumes, probes, limits and
credentials are not there; containers find the API server by KUBECONFIG. What Pods print is ``fake_kubelet``'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from api_server import ApiServer
from kontinue import errors
from kontinue.api.meta import ApiStruct, ObjectMeta
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.kube.informer import Informer
from kontinue_engine.processes import die_with_parent

KONCLI = f"""exec {sys.executable} -c 'import sys
from kontinue_engine.cli.koncli import main
sys.exit(main(sys.argv[1:]))' "$@"
"""
NOT_FOUND = 127


class _Pod(ApiStruct, frozen=True):
    metadata: ObjectMeta
    spec: dict[str, Any]


class FakeNode:
    """Runs the Pods of one namespace.

    Attributes:
        name: of the Node that Pods are bound to.
        exits: exit codes of containers by Pod, in their order.
    """

    def __init__(self, server: ApiServer, transport: Transport, images: Path) -> None:
        self.name = "node"
        self.exits: defaultdict[str, list[int]] = defaultdict(list)
        self._server = server
        self._transport = transport
        self._images = images
        self._running: dict[str, asyncio.Task[None]] = {}
        self._deleted: set[str] = set()
        self._is_over = False
        self._containers: defaultdict[str, set[asyncio.subprocess.Process]] = defaultdict(set)

    def add_image(self, name: str, programs: Mapping[str, str], *, shell: str = "") -> Path:
        """Have an image; returns its root.

        Args:
            name: without its tag.
            programs: scripts by their names, with ``./`` for the root; ``koncli`` is always there.
            shell: what its ``/bin/sh`` is; empty for this machine's.
        """
        root = self._images / name
        (root / "bin").mkdir(parents=True)
        for program, text in {"koncli": KONCLI, **programs}.items():
            file = (root if program.startswith("./") else root / "bin") / program
            file.write_text(f"#!/bin/sh\n{text}")
            file.chmod(0o755)
        if shell:
            (root / "bin" / "sh").symlink_to(shell)
        return root

    def kill(self, pod: str) -> None:
        """SIGKILL all processes of a Pod's containers, as an out-of-memory killer does."""
        for process in self._containers[pod]:
            _send(process, signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FakeNode]:
        """Run Pods until the block is left."""
        informer = Informer(self._transport, requests.PODS, self._server.namespace, type_=_Pod, handler=self)
        watching = asyncio.create_task(informer.run())
        try:
            yield self
        finally:
            self._is_over = True
            watching.cancel()
            for task in self._running.values():
                task.cancel()
            ended = await asyncio.gather(watching, *self._running.values(), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    def on_list(self, objects: Sequence[_Pod], *, initial: bool) -> None:
        """Take all Pods."""
        del initial
        for pod in objects:
            self.on_event("ADDED", pod)

    def on_event(self, type: EventType, obj: _Pod) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        uid, meta = obj.metadata.uid, obj.metadata
        if type == "DELETED" or meta.deletion_timestamp is not None:
            if uid in self._running and uid not in self._deleted:
                self._deleted.add(uid)
                self._running[uid].cancel()
        elif uid not in self._running:
            self._running[uid] = asyncio.create_task(self._live(obj), name=f"pod {meta.name}")

    async def _live(self, pod: _Pod) -> None:
        try:
            await self._bind(pod.metadata.name)
            await _Life(self, pod).run()
            await asyncio.Event().wait()  # a Pod that has ended is there until somebody deletes it
        finally:
            await self._end(pod.metadata.name, 0 if self._is_over else pod.spec["terminationGracePeriodSeconds"])
            if not self._is_over:
                await self._delete(pod.metadata)

    async def _bind(self, pod: str) -> None:
        target = {"kind": "Node", "name": self.name}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        binding = requests.create(requests.PODS, self._server.namespace, body, subresource="binding", name=pod)
        with contextlib.suppress(errors.Conflict, errors.NotFound):
            await self._transport.send(binding)

    async def _delete(self, meta: ObjectMeta) -> None:
        request = requests.delete(requests.PODS, self._server.namespace, meta.name)
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        options["preconditions"] = {"uid": meta.uid}
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await self._transport.send(msgspec.structs.replace(request, body=msgspec.json.encode(options)))

    async def report(self, pod: str, status: Mapping[str, Any]) -> None:
        """Write the status of a Pod; nothing happens if it is gone."""
        patch = {"status": status}
        request = requests.merge_patch(requests.PODS, self._server.namespace, pod, patch, subresource="status")
        with contextlib.suppress(errors.NotFound):
            await self._transport.send(request, repeatable=True)

    async def start(self, pod: _Pod, container: Mapping[str, Any]) -> asyncio.subprocess.Process | None:
        """Start a container; None if there is no such program."""
        root = self._images / container["image"].partition(":")[0]
        words = [*container["command"], *container.get("args", ())]
        if words[0] == "/bin/sh" and (root / "bin" / "sh").exists():
            words[0] = str(root / "bin" / "sh")
        environment = {
            **os.environ,
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "HOSTNAME": pod.metadata.name,
            "KUBECONFIG": str(self._server.kubeconfig),
            **{one["name"]: _value(one, pod.metadata) for one in container.get("env", ())},
        }
        with (root / "output").open("ab") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    cwd=root,
                    env=environment,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=functools.partial(die_with_parent, os.getpid()),
                )
            except FileNotFoundError:
                return None
        self._containers[pod.metadata.name].add(process)
        return process

    def ended(self, pod: str, process: asyncio.subprocess.Process, code: int) -> None:
        """Take the exit of a container's first process: what else runs in the container ends with it."""
        _send(process, signal.SIGKILL)
        self._containers[pod].discard(process)
        self.exits[pod].append(code)

    async def _end(self, pod: str, grace_s: float) -> None:
        """End what runs in a Pod's containers: SIGTERM, and SIGKILL after the grace."""
        processes = list(self._containers.pop(pod, ()))
        for process in processes:
            _send(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                for process in processes:
                    await process.wait()
        for process in processes:
            _send(process, signal.SIGKILL)
            await process.wait()


class _Life:
    """One Pod, from its binding to its end."""

    def __init__(self, node: FakeNode, pod: _Pod) -> None:
        self._node = node
        self._pod = pod
        self._name = pod.metadata.name
        self._states: dict[str, dict[str, Any]] = {}
        self._restarts: defaultdict[str, int] = defaultdict(int)

    async def run(self) -> None:
        """Run its containers until it has ended, or until one of them would have to wait for its turn again."""
        spec = self._pod.spec
        for container in spec.get("initContainers", ()):
            if await self._run(container, again=spec["restartPolicy"] != "Never") != 0:
                await self._report("Failed")
                return
        again = spec["restartPolicy"] == "OnFailure"
        codes = await asyncio.gather(*(self._run(one, again=again) for one in spec["containers"]))
        if spec["restartPolicy"] == "Always":
            # A kubelet starts them again after a back-off of up to five minutes: longer than any test.
            for container in spec["containers"]:
                self._states[container["name"]] = {"waiting": {"reason": "CrashLoopBackOff"}}
            await self._report("Running")
            return
        await self._report("Failed" if any(codes) else "Succeeded")

    async def _run(self, container: Mapping[str, Any], *, again: bool) -> int:
        """Run one container to its end, if it may start again until it succeeds; return its exit code."""
        name = container["name"]
        while True:
            process = await self._node.start(self._pod, container)
            if process is None:
                code = NOT_FOUND
            else:
                self._states[name] = {"running": {"startedAt": _now()}}
                await self._report(None)
                status = await process.wait()
                code = status if status >= 0 else 128 - status
                self._node.ended(self._name, process, code)
            reason = "Error" if code else "Completed"
            self._states[name] = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": _now()}}
            if code == 0 or not again:
                return code
            self._restarts[name] += 1

    async def _report(self, phase: str | None) -> None:
        spec = self._pod.spec
        starts = spec.get("initContainers", ())
        is_begun = any(one["name"] in self._states for one in spec["containers"])
        await self._node.report(
            self._name,
            {
                "phase": phase or ("Running" if is_begun else "Pending"),
                "initContainerStatuses": [self._status(one) for one in starts],
                "containerStatuses": [self._status(one) for one in spec["containers"]],
            },
        )

    def _status(self, container: Mapping[str, Any]) -> dict[str, Any]:
        name = container["name"]
        state = self._states.get(name, {"waiting": {"reason": "PodInitializing"}})
        restarts, is_running = self._restarts[name], "running" in state
        head = {"name": name, "image": container["image"], "imageID": "", "ready": is_running}
        return {**head, "restartCount": restarts, "state": state}


def _value(variable: Mapping[str, Any], meta: ObjectMeta) -> str:
    if "value" in variable:
        return str(variable["value"])
    fields = {"metadata.name": meta.name, "metadata.namespace": meta.namespace, "metadata.uid": meta.uid}
    return fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
