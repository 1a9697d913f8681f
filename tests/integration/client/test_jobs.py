"""Jobs and what they print; on a real server by a node of the test's own, on the local one by the files of dev."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api import PATIENCE_S, unique
from api_server import ApiServer
from fake_kubelet import FakeKubelet, LogFiles, pod_printer
from job_answers import end_job, pod_of
from kontinue import errors
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.kube import played_jobs

pytestmark = pytest.mark.slow


class Jobs:
    """Creates Jobs and plays what runs their Pods.

    Attributes:
        client: of their namespace.
        printer: of what they print.
    """

    def __init__(
        self, server: ApiServer, transport: KubeTransport, client: Client, printer: LogFiles | FakeKubelet
    ) -> None:
        self.client = client
        self.printer = printer
        self._server = server
        self._transport = transport

    async def create(self, *containers: str, **spec: Any) -> dict[str, Any]:
        found = [{"name": name, "image": "busybox"} for name in containers or ("main",)]
        body = {
            "metadata": {"name": unique("job")},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": found}}, **spec},
        }
        request = requests.create(requests.JOBS, self._server.namespace, body)
        job: dict[str, Any] = msgspec.json.decode(await self._transport.send(request))
        return job

    async def start(self, job: dict[str, Any]) -> str:
        """Have the Pod of a Job run; return its name."""
        pod = await pod_of(self._server, self._transport, job)
        await self.printer.take(pod)
        await played_jobs.say_running(
            self._transport,
            namespace=self._server.namespace,
            name=pod,
            container=job["spec"]["template"]["spec"]["containers"][0]["name"],
            now=datetime.now(UTC),
        )
        return pod

    async def end(self, job: dict[str, Any], **how: Any) -> None:
        await end_job(self._server, self._transport, job, **how)


@pytest.fixture
async def jobs(
    api_server: ApiServer, server_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Jobs]:
    transport = api_server.transport()
    options = ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)
    local = request.getfixturevalue("local_server").server if server_kind == "local" else None
    printing = pod_printer(api_server, transport, tmp_path, local=local)
    async with Client(options) as client, printing as printer:
        yield Jobs(api_server, transport, client, printer)
    await transport.close()


def name_of(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"])


async def text_of(logs: Any) -> str:
    async with logs as chunks:
        return b"".join([chunk async for chunk in chunks]).decode()


async def test_a_job_is_read_by_name(jobs: Jobs) -> None:
    """Where it is, and how it ended."""
    job = await jobs.create(backoffLimit=0)
    found = await jobs.client.get_job(name_of(job))
    assert (found.metadata.uid, found.end) == (job["metadata"]["uid"], None)
    assert found.spec.backoff_limit == 0
    await jobs.start(job)
    await jobs.end(job, exit_code=3)
    async with asyncio.timeout(PATIENCE_S):
        while (found := await jobs.client.get_job(name_of(job))).end is None:
            await asyncio.sleep(0.05)
    assert (found.phase, found.status.failed) == ("Failed", 1)
    with pytest.raises(errors.NotFound, match="no Job 'absent' in namespace"):
        await jobs.client.get_job("absent")


async def test_the_log_of_a_job_that_has_ended_is_read_to_its_end(jobs: Jobs) -> None:
    """All of it, or its last lines; by the name of the Pod, too."""
    job = await jobs.create()
    pod = await jobs.start(job)
    await jobs.printer.print(pod, "first", "second", "", "last: \u00e4")
    await jobs.end(job)
    client, name = jobs.client, name_of(job)
    assert await text_of(client.get_job_logs(name)) == "first\nsecond\n\nlast: \u00e4\n"
    assert await text_of(client.get_job_logs(name, tail_lines=1)) == "last: \u00e4\n"
    assert await text_of(client.get_job_logs(name, pod=pod, container="main", tail_lines=2)) == "\nlast: \u00e4\n"
    async with client.get_job_logs(name, follow=True) as chunks:
        assert (chunks.pod, chunks.container) == (pod, "main")
        assert b"".join([chunk async for chunk in chunks]).startswith(b"first\n")


async def test_a_log_that_is_followed_ends_with_its_container(jobs: Jobs) -> None:
    """Begun before there is a Pod, it waits for that and for the container; lines come as they are printed."""
    job = await jobs.create()
    told: list[bytes] = []

    async def follow() -> None:
        async with jobs.client.get_job_logs(name_of(job), follow=True) as chunks:
            async for chunk in chunks:
                told.append(chunk)

    following = asyncio.create_task(follow())
    pod = await jobs.start(job)
    await jobs.printer.print(pod, "one")
    async with asyncio.timeout(PATIENCE_S):
        while not told:
            await asyncio.sleep(0.02)
    assert b"".join(told) == b"one\n"
    await jobs.printer.print(pod, "two")
    await jobs.end(job)
    async with asyncio.timeout(PATIENCE_S):
        await following
    assert b"".join(told) == b"one\ntwo\n"


async def test_a_log_that_is_left_early_closes_its_connection(jobs: Jobs) -> None:
    """However it is left; the client goes on."""
    job = await jobs.create()
    pod = await jobs.start(job)
    await jobs.printer.print(pod, "one")
    logs = jobs.client.get_job_logs(name_of(job), follow=True)

    async def leave() -> None:
        async with logs as chunks:
            async for _ in chunks:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    with pytest.raises(StopAsyncIteration):
        await anext(logs)
    if isinstance(jobs.printer, FakeKubelet):
        async with asyncio.timeout(PATIENCE_S):
            while jobs.printer.connections:
                await asyncio.sleep(0.02)
    await jobs.end(job)
    assert await text_of(jobs.client.get_job_logs(name_of(job))) == "one\n"


async def test_a_log_that_is_cut_goes_on_where_it_was(jobs: Jobs) -> None:
    """Nothing is missing, and nothing told twice."""
    job = await jobs.create()
    pod = await jobs.start(job)
    told = b""
    async with jobs.client.get_job_logs(name_of(job), follow=True, tail_lines=5) as chunks:
        for number in range(4):
            await jobs.printer.print(pod, f"line {number}", f"and {number}")
            if number % 2:
                await jobs.printer.cut()
            while not told.endswith(f"and {number}\n".encode()):
                told += await anext(chunks)
        await jobs.end(job)
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in chunks:
                told += chunk
    assert told == b"".join(f"line {number}\nand {number}\n".encode() for number in range(4))


async def test_what_has_printed_nothing_yet_is_told_from_what_is_not_there(jobs: Jobs) -> None:
    """With what to do."""
    client = jobs.client
    with pytest.raises(errors.NotFound, match="no Job 'absent'"):
        await text_of(client.get_job_logs("absent", follow=True))
    held = await jobs.create(suspend=True)
    with pytest.raises(errors.InvalidState, match="has no Pod yet, it is Suspended: follow=True waits for one"):
        await text_of(client.get_job_logs(name_of(held)))
    with pytest.raises(errors.WaitTimeout, match=r"has started no Pod within 0\.2 s"):
        await text_of(client.with_timeout(timedelta(seconds=0.2)).get_job_logs(name_of(held), follow=True))
    job = await jobs.create("main", "side")
    pod = await jobs.start(job)
    with pytest.raises(errors.NotFound, match=r"Job .* has no Pod 'another'"):
        await text_of(client.get_job_logs(name_of(job), pod="another"))
    with pytest.raises(errors.InvalidState, match=f"container side of Pod .*{pod} has not started yet: follow=True"):
        await text_of(client.get_job_logs(name_of(job), container="side"))
    for follow in (False, True):  # while the Pod runs
        with pytest.raises(errors.Invalid, match=f"container none is not valid for pod {pod}"):
            async with asyncio.timeout(PATIENCE_S):
                await text_of(client.get_job_logs(name_of(job), container="none", follow=follow))
    await jobs.end(job)
    with pytest.raises(errors.Invalid, match=f"container none is not valid for pod {pod}"):
        await text_of(client.get_job_logs(name_of(job), container="none"))
    with pytest.raises(ValueError, match="tail_lines=-1: expected 0 or more"):
        client.get_job_logs("x", tail_lines=-1)
    with pytest.raises(errors.InvalidState, match="read within its block"):
        await anext(client.get_job_logs("x"))


async def test_a_thread_reads_jobs_and_their_logs(jobs: Jobs, api_server: ApiServer) -> None:
    """The same, without await."""
    job = await jobs.create()
    pod = await jobs.start(job)
    await jobs.printer.print(pod, "one", "two")

    def read() -> tuple[str, bytes]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            uid = client.get_job(name_of(job)).metadata.uid
            with client.get_job_logs(name_of(job), follow=True) as chunks:
                assert (chunks.pod, chunks.container) == (pod, "main")
                told = b""
                for chunk in chunks:
                    told += chunk
                    if told.endswith(b"two\n"):
                        break
            return uid, told

    assert await asyncio.to_thread(read) == (job["metadata"]["uid"], b"one\ntwo\n")
    await jobs.end(job)
