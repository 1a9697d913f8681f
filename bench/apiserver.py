"""What the API servers themselves can do: writes by kind, watch fan-out, memory, start, lists, load.

    PYTHONPATH=tests/support .venv/bin/python -m bench.apiserver            everything but the load
    PYTHONPATH=tests/support .venv/bin/python -m bench.apiserver load       64 writers and 1,000 watchers for 60 s

The client is the engine's own transport in this process. Latencies are the client's at 32 in flight; CPU is that of
the server's processes (of the real control plane kube-apiserver and etcd together).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import uvloop
import yaml

import kube
from bench.raw_limit import STATUS
from control_plane import ControlPlane
from kontinue.kube import config, requests
from kontinue.kube.http import KubeTransport
from server_process import ServerProcess

IN_FLIGHT = 32
WRITES = 3000
NAMESPACE = "default"
EXECUTIONS = requests.EXECUTIONS
CRDS = Path(__file__).parents[1] / "crds"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
RECORDS = [{"id": f"step-{n}", "outcome": "x" * 90} for n in range(6)]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A running API server: its kubeconfig and the processes that it consists of."""

    name: str
    kubeconfig: Path
    pids: list[int]

    @property
    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self.pids) / TICKS_PER_S

    @property
    def rss_bytes(self) -> int:
        """Resident memory of its processes."""
        return sum(int(_stat(pid)[21]) for pid in self.pids) * PAGE_BYTES


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def execution(name: str) -> dict[str, Any]:
    """An Execution of about 1.6 KB as it is stored, once its status is written."""
    labels = {"kontinue.cloud/worker-group": "bench", "kontinue.cloud/function": "trivial"}
    spec = {"function": "trivial", "arguments": {"n": 1}, "retry": {"retries": 1, "backoff": "5s"}}
    return {
        "apiVersion": EXECUTIONS.api_version,
        "kind": EXECUTIONS.kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def status() -> dict[str, Any]:
    """A status that makes it 1.6 KB."""
    return {**STATUS, "state": {"records": RECORDS}}


# -- servers ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def local(data_dir: Path) -> Iterator[Subject]:
    """The local server on a data folder, as a process of its own."""
    server = ServerProcess(data_dir)
    try:
        yield Subject("local", data_dir / "kubeconfig", [server.pid])
    finally:
        server.terminate()


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Subject]:
    """A real control plane with kontinue's CRDs."""
    with ControlPlane(folder, kube.program_folder()) as plane:
        for file in sorted(CRDS.glob("*.yaml")):
            asyncio.run(_install(plane.kubeconfig, yaml.safe_load(file.read_text())))
        pids = [plane.processes[name].pid for name in ("etcd", "kube-apiserver")]
        yield Subject("kube", plane.kubeconfig, pids)


async def _install(kubeconfig: Path, crd: dict[str, Any]) -> None:
    token, url, context = _access(kubeconfig)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await _raw(url, token, context, "POST", path, orjson.dumps(crd))
    spec = crd["spec"]
    served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
    while (await _raw(url, token, context, "GET", served))[0] != 200:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.1)


# -- writes -----------------------------------------------------------------------------------------------------------


async def measure_writes(subject: Subject, count: int = WRITES) -> dict[str, dict[str, float]]:
    """Return writes/s, p50, p99 and server CPU per request of each kind of write."""
    transport = _transport(subject)
    run = uuid.uuid4().hex[:8]
    created: dict[str, Any] = {}

    async def create(number: int) -> None:
        name = f"b-{run}-{number}"
        answer = await transport.send(requests.create(EXECUTIONS, NAMESPACE, execution(name)))
        created[name] = orjson.loads(answer)

    async def put_status(number: int) -> None:
        name = f"b-{run}-{number}"
        body = {**created[name], "status": status()}
        created[name] = orjson.loads(await transport.send(requests.replace_status(EXECUTIONS, NAMESPACE, name, body)))

    def patcher(kind: str, body: Callable[[int], Any]) -> Callable[[int], Awaitable[None]]:
        async def patch(number: int) -> None:
            path = EXECUTIONS.path(NAMESPACE, f"b-{run}-{number}")
            await transport.send(
                requests.Request("PATCH", path, body=orjson.dumps(body(number)), content_type=f"application/{kind}")
            )

        return patch

    async def delete(number: int) -> None:
        await transport.send(requests.delete(EXECUTIONS, NAMESPACE, f"b-{run}-{number}"))

    kinds = {
        "create": create,
        "put status": put_status,
        "merge patch": patcher("merge-patch+json", lambda n: {"metadata": {"labels": {"n": str(n)}}}),
        "json patch": patcher(
            "json-patch+json", lambda n: [{"op": "add", "path": "/metadata/labels/m", "value": str(n)}]
        ),
        "delete": delete,
    }
    try:
        return {kind: await _timed(subject, write, count) for kind, write in kinds.items()}
    finally:
        await transport.close()


async def _timed(subject: Subject, write: Callable[[int], Awaitable[None]], count: int) -> dict[str, float]:
    latencies: list[float] = []
    left = iter(range(count))

    async def one_after_another() -> None:
        for number in left:
            begun = time.perf_counter()
            await write(number)
            latencies.append(time.perf_counter() - begun)

    cpu_s, begun = subject.cpu_s, time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(one_after_another())
    elapsed = time.perf_counter() - begun
    cpu_us = (subject.cpu_s - cpu_s) / count * 1e6
    p50, p99 = (statistics.quantiles(latencies, n=100)[at] * 1e3 for at in (49, 98))
    return {"per_s": count / elapsed, "p50_ms": p50, "p99_ms": p99, "server_cpu_us": cpu_us}


# -- watches ----------------------------------------------------------------------------------------------------------


async def measure_fan_out(subject: Subject, *, watchers: int = 500, writes: int = 200) -> float:
    """Return the server's CPU microseconds per event and watcher."""
    without = await _cpu_of_writes(subject, writes)
    token, url, context = _access(subject.kubeconfig)
    seen = [0] * watchers
    tasks = [asyncio.create_task(_watch(url, token, context, seen, number)) for number in range(watchers)]
    await _until(lambda: all(count < 0 for count in seen))
    with_watchers = await _cpu_of_writes(subject, writes)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (with_watchers - without) / writes / watchers * 1e6


async def _cpu_of_writes(subject: Subject, writes: int) -> float:
    transport = _transport(subject)
    before = subject.cpu_s
    for _ in range(writes):
        body = execution(f"f-{uuid.uuid4().hex[:12]}")
        await transport.send(requests.create(EXECUTIONS, NAMESPACE, body))
    await asyncio.sleep(0.3)
    await transport.close()
    return subject.cpu_s - before


async def _watch(url: str, token: str, context: Any, seen: list[int], number: int) -> None:
    """Count the bytes of a watch without parsing them; -1 once it is open."""
    reader, writer = await _open(url, context)
    path = f"{EXECUTIONS.path(NAMESPACE)}?watch=1&resourceVersion={await _revision(url, token, context)}"
    writer.write(_head("GET", path, token, 0))
    await reader.readuntil(b"\r\n\r\n")
    seen[number] = -1
    try:
        while data := await reader.read(2**18):
            seen[number] = max(seen[number], 0) + data.count(b'"type":"')
    finally:
        writer.close()


async def _revision(url: str, token: str, context: Any) -> str:
    _, body = await _raw(url, token, context, "GET", f"{EXECUTIONS.path(NAMESPACE)}?limit=1")
    return str(orjson.loads(body)["metadata"]["resourceVersion"])


# -- memory, start, lists ---------------------------------------------------------------------------------------------


async def fill(subject: Subject, count: int, *, prefix: str) -> int:
    """Create ``count`` Executions of about 1.6 KB; returns the size of one as the server answers it."""
    transport = _transport(subject)
    size = 0
    left = iter(range(count))

    async def one_after_another() -> None:
        nonlocal size
        for number in left:
            name = f"{prefix}-{number:06}"
            created = orjson.loads(await transport.send(requests.create(EXECUTIONS, NAMESPACE, execution(name))))
            created["status"] = status()
            answer = await transport.send(requests.replace_status(EXECUTIONS, NAMESPACE, name, created))
            size = len(answer)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(one_after_another())
    await transport.close()
    return size


def measure_memory_and_start(data_dir: Path, counts: tuple[int, ...] = (0, 10_000, 100_000)) -> list[dict[str, float]]:
    """Return for each number of objects: RSS after filling and after a restart, start time, time of one list."""
    rows = []
    filled = 0
    empty_bytes = 0
    for count in counts:
        with local(data_dir) as subject:
            size = asyncio.run(fill(subject, count - filled, prefix=f"m{count}")) if count else 0
            filled_bytes = subject.rss_bytes
        filled = count
        begun = time.perf_counter()
        with local(data_dir) as subject:
            start_s = time.perf_counter() - begun
            empty_bytes = empty_bytes or subject.rss_bytes
            row = {"objects": count, "object_bytes": size, "start_s": start_s, "rss_mib": subject.rss_bytes / 2**20}
            if count:
                row["rss_per_object"] = (subject.rss_bytes - empty_bytes) / count
                row["rss_per_object_with_history"] = (filled_bytes - empty_bytes) / count
                row["list_s"], row["list_mib"] = asyncio.run(measure_list(subject, min(count, 10_000)))
            rows.append(row)
    return rows


async def measure_list(subject: Subject, limit: int) -> tuple[float, float]:
    """Return seconds and MiB of a list of ``limit`` objects, best of three."""
    token, url, context = _access(subject.kubeconfig)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        _, body = await _raw(url, token, context, "GET", f"{EXECUTIONS.path(NAMESPACE)}?limit={limit}")
        best = min(best, time.perf_counter() - begun)
    return best, len(body) / 2**20


# -- load -------------------------------------------------------------------------------------------------------------


async def load(subject: Subject, *, writers: int = 64, watchers: int = 1000, seconds: float = 60.0) -> dict[str, float]:
    """Write and watch, with one watcher that never reads; returns rates, lags and the most memory used."""
    token, url, context = _access(subject.kubeconfig)
    stuck_reader, stuck = await _open(url, context)
    stuck_reader._limit = 0  # it is never read
    stuck.write(_head("GET", f"{EXECUTIONS.path(NAMESPACE)}?watch=1", token, 0))
    seen = [0] * watchers
    tasks = [asyncio.create_task(_watch(url, token, context, seen, number)) for number in range(watchers)]
    await _until(lambda: all(count < 0 for count in seen))
    transport = _transport(subject)
    deadline = time.perf_counter() + seconds
    written = 0
    latencies: list[float] = []

    async def write(writer: int) -> None:
        nonlocal written
        number = 0
        while time.perf_counter() < deadline:
            name = f"l{writer}-{number % 20}"
            begun = time.perf_counter()
            if number < 20:
                await transport.send(requests.create(EXECUTIONS, NAMESPACE, execution(name)))
            else:
                path = EXECUTIONS.path(NAMESPACE, name)
                patch = orjson.dumps({"metadata": {"labels": {"n": str(number)}}})
                await transport.send(
                    requests.Request("PATCH", path, body=patch, content_type="application/merge-patch+json")
                )
            latencies.append(time.perf_counter() - begun)
            written += 1
            number += 1

    most_bytes = 0

    async def look() -> None:
        nonlocal most_bytes
        while True:
            most_bytes = max(most_bytes, subject.rss_bytes)
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    before_bytes = subject.rss_bytes
    await asyncio.gather(*(write(writer) for writer in range(writers)))
    await _until(lambda: min(seen) >= written, patience_s=30)
    looking.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stuck.close()
    await transport.close()
    return {
        "writes_per_s": written / seconds,
        "p99_ms": statistics.quantiles(latencies, n=100)[98] * 1e3,
        "events_each": min(seen),
        "written": written,
        "rss_before_mib": before_bytes / 2**20,
        "rss_most_mib": most_bytes / 2**20,
    }


# -- raw HTTP ---------------------------------------------------------------------------------------------------------


def _transport(subject: Subject) -> KubeTransport:
    return KubeTransport(config.load_config(kubeconfig=str(subject.kubeconfig)), user_agent="kontinue-bench")


def _access(kubeconfig: Path) -> tuple[str, str, Any]:
    document = yaml.safe_load(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    ca_file = cluster.get("certificate-authority")
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    return document["users"][0]["user"]["token"], cluster["server"], context


async def _open(url: str, context: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urllib.parse.urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, ssl=context, limit=2**18)


def _head(method: str, path: str, token: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def _raw(url: str, token: str, context: Any, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    reader, writer = await _open(url, context)
    writer.write(_head(method, path, token, len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body)
    answer = await reader.read()
    writer.close()
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), text


async def _until(is_true: Callable[[], bool], *, patience_s: float = 60.0) -> None:
    async with asyncio.timeout(patience_s):
        while not is_true():  # noqa: ASYNC110 - what it waits for is counted by many tasks
            await asyncio.sleep(0.05)


def main() -> int:
    """Measure what the command line names, and print it as JSON."""
    uvloop.install()
    wanted = sys.argv[1:] or ["writes", "fan-out", "memory"]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kontinue-bench-") as name:
        folder = Path(name)
        servers = {"local": local}
        if (kube.program_folder() / "kube-apiserver").exists():
            servers["kube"] = real
        for server, start in servers.items() if {"writes", "fan-out"} & set(wanted) else ():
            (folder / server).mkdir()
            with start(folder / server) as subject:
                if "writes" in wanted:
                    results[f"writes on {server}"] = asyncio.run(measure_writes(subject))
                if "fan-out" in wanted:
                    results[f"fan-out on {server}, us per event and watcher"] = asyncio.run(measure_fan_out(subject))
        if "memory" in wanted:
            results["memory and start"] = measure_memory_and_start(folder / "memory")
        if "load" in wanted:
            with local(folder / "load") as subject:
                results["load"] = asyncio.run(load(subject))
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
