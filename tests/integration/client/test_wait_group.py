"""WaitGroups from Python, against an API server; nobody but clients takes part: no coordinator runs."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor.wait_groups import MAX_COUNTER
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue.sync import Holder, HolderKind, SyncWaitGroup, WaitGroup, WaitGroupPhase
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def transport(api_server: ApiServer) -> AsyncIterator[KubeTransport]:
    subject = api_server.transport()
    yield subject
    await subject.close()


@pytest.fixture
async def group(transport: KubeTransport, api_server: ApiServer) -> WaitGroup:
    """One that exists."""
    subject = of(transport, api_server)
    await subject.create()
    return subject


def of(transport: Transport, api_server: ApiServer, name: str = "jobs") -> WaitGroup:
    """Return another client's view, as that of another process."""
    return WaitGroup(name, Client.from_kube(transport, api_server.namespace))


class Meddling:
    """Sends by another transport, and lets a test step in."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.watches = 0
        self.reads = 0
        self.may_show = asyncio.Event()
        self.may_show.set()
        self.before: Callable[[Request], Awaitable[None]] | None = None
        self.after: Callable[[Request], None] = lambda _: None

    async def send(self, request: Request, **options: Any) -> bytes:
        """Send; the request or the answer may get lost."""
        if self.before is not None:
            await self.before(request)
        answer = await self._transport.send(request, **options)
        self.reads += request.method == "GET" and not request.query
        self.after(request)
        return answer

    async def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Watch; what it shows may be held back."""
        self.watches += 1
        async with aclosing(self._transport.stream(request, timeout_s=timeout_s)) as lines:
            async for line in lines:
                await self.may_show.wait()
                yield line


async def waiting(group: WaitGroup, meddling: Meddling, **options: Any) -> asyncio.Task[Any]:
    """Start a wait and return once it watches."""
    before = meddling.watches
    task = asyncio.create_task(group.wait(timeout=LONG, **options))
    await eventually(lambda: meddling.watches > before)
    return task


async def test_a_fresh_group_is_done(group: WaitGroup):
    """As documented: nobody has to be waited for."""
    assert (await group.wait(timeout=timedelta())).phase is WaitGroupPhase.DONE
    assert (await group.wait()).counter == 0
    status = await group.status()
    assert (status.counter, status.phase) == (0, WaitGroupPhase.DONE)


async def test_a_wait_ends_with_the_last_done(group: WaitGroup, transport: KubeTransport, api_server: ApiServer):
    """And not before."""
    meddling = Meddling(transport)
    assert await group.add(3) == 3
    watching = of(meddling, api_server)
    task = await waiting(watching, meddling)
    assert await group.done(2) == 1
    assert not task.done()
    assert await group.done() == 0
    ended = await task
    assert (ended.counter, ended.phase, ended.status.rounds) == (0, WaitGroupPhase.DONE, 1)


async def test_a_group_that_is_done_opens_again(group: WaitGroup):
    """What is added after the end is waited for."""
    await group.add()
    await group.done()
    await group.add(2)
    with pytest.raises(errors.WaitTimeout, match="its counter is 2"):
        await group.wait(timeout=timedelta())
    with pytest.raises(errors.WaitTimeout):
        await group.wait(timeout=timedelta(seconds=6))


async def test_waiting_for_the_first_add_closes_the_race_at_the_start(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """Who waits before the workers have added themselves waits for them."""
    with pytest.raises(errors.WaitTimeout, match="nothing was ever added to it"):
        await group.wait(timeout=timedelta(), for_first_add=True)
    meddling = Meddling(transport)
    task = await waiting(of(meddling, api_server), meddling, for_first_add=True)
    await group.add()
    await group.done()
    assert (await task).status.added == 1


async def test_an_add_before_a_wait_counts_although_the_shared_watch_has_not_shown_it(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """A second wait of a process joins the watch of the first, and still reads for itself."""
    meddling = Meddling(transport)
    shared = of(meddling, api_server)
    first = await waiting(shared, meddling, for_first_add=True)
    meddling.may_show.clear()
    await group.add()
    second = asyncio.create_task(shared.wait(timeout=LONG))
    await eventually(lambda: meddling.reads)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(second), timeout=0.02)
    await group.done()
    meddling.may_show.set()
    await asyncio.gather(first, second)
    assert meddling.watches == 1


async def test_a_hundred_operations_of_several_clients_end_at_exactly_0(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """They conflict, and each counts once."""
    await group.add(100)
    clients = [of(transport, api_server) for _ in range(4)]
    await asyncio.gather(*(clients[number % 4].done() for number in range(100)))
    status = await group.status()
    assert (status.counter, status.rounds, status.added) == (0, 1, 100)


@pytest.mark.slow
async def test_ten_processes_that_do_ten_each_end_at_exactly_0(group: WaitGroup, api_server: ApiServer):
    """Processes know nothing of each other; a lost update would leave a rest, a double one would be refused."""
    await group.add(100)
    program = (
        "import asyncio, sys\n"
        "from kontinue.client import Client, ClientOptions\n"
        "from kontinue.sync import WaitGroup\n"
        "async def main():\n"
        "    async with Client(ClientOptions(kubeconfig=sys.argv[1], qps=None)) as client:\n"
        "        group = WaitGroup('jobs', client)\n"
        "        print('ready', flush=True)\n"
        "        sys.stdin.readline()\n"
        "        for _ in range(10):\n"
        "            await group.done()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", program, str(api_server.kubeconfig)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(10)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        await group.wait(timeout=LONG)
        assert [await process.wait() for process in processes] == [0] * 10
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    status = await group.status()
    assert (status.counter, status.rounds, status.write_count) == (0, 1, 101)


async def test_a_lost_answer_can_be_told_after_a_change_of_labels(transport: KubeTransport, api_server: ApiServer):
    """It changes the object, but not what was counted: a write that was not carried out is repeated."""
    group = of(transport, api_server)
    await group.create()
    await group.add(3)
    meddling = Meddling(transport)
    labelled: list[str] = []

    async def label_and_lose(request: Request) -> None:
        if request.method == "PUT" and not labelled:
            labelled.append(request.path)
            labels = {"metadata": {"labels": {"team": "a"}}}
            await transport.send(requests.merge_patch(requests.WAIT_GROUPS, api_server.namespace, "jobs", labels))
            raise errors.Unavailable("no answer")

    meddling.before = label_and_lose
    assert await of(meddling, api_server).done() == 2
    assert (await group.get()).metadata.labels == {"team": "a"}
    assert (await group.status()).counter == 2


async def test_a_group_that_is_deleted_before_the_look_after_a_lost_answer_leaves_open_what_was_counted(
    transport: KubeTransport, api_server: ApiServer
):
    """All that is seen is that the group is gone: whoever makes it again must not count again."""
    group = of(transport, api_server)
    await group.create()
    await group.add(3)
    meddling = Meddling(transport)
    lost: list[str] = []

    def lose(request: Request) -> None:
        if request.method == "PUT":
            lost.append(request.path)
            raise errors.Unavailable("no answer")

    async def delete(request: Request) -> None:
        if lost and request.method == "GET":
            await group.delete()

    meddling.before, meddling.after = delete, lose
    with pytest.raises(errors.NotFound, match=r"jobs.* not found; whether it was counted is not known"):
        await of(meddling, api_server).done()
    assert len(lost) == 1


FORKS = """
import os, sys
from kontinue.client import ClientOptions, SyncClient
from kontinue.sync import SyncWaitGroup

group = SyncWaitGroup("jobs", SyncClient(ClientOptions(kubeconfig=sys.argv[1], qps=None)))
for _ in range(4):
    if not os.fork():
        for _ in range(25):
            group.done()
        os._exit(0)
for _ in range(4):
    assert os.wait()[1] == 0
"""


@pytest.mark.slow
async def test_forks_of_a_process_count_as_themselves(group: WaitGroup, api_server: ApiServer):
    """A server that forks its workers after it has loaded the program: none takes another one's write for its own."""
    await group.add(100)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKS, str(api_server.kubeconfig))
    assert await process.wait() == 0
    assert (await group.status()).counter == 0


async def test_an_id_that_no_request_can_say_spares_those_that_count_with_it(group: WaitGroup):
    """Half a character, as of a command's argument that is no UTF-8: all that is asked at once goes in one write."""
    answers = await asyncio.gather(
        group.add(1), group.add(2, operation_id="\udcff"), group.add(4), return_exceptions=True
    )
    assert [one for one in answers if isinstance(one, int)] == [1, 5]
    assert isinstance(answers[1], errors.Invalid)


@pytest.mark.parametrize(
    "holder",
    [
        Holder(HolderKind.POD, "\udcff", "u"),
        Holder(HolderKind.POD, "x" * 254, "u"),
        Holder(HolderKind.POD, "worker-1", "u" * 65),
    ],
    ids=["no UTF-8", "long name", "long uid"],
)
async def test_a_holder_that_cannot_be_spares_those_that_count_with_it(group: WaitGroup, holder: Holder):
    """The server would refuse the write of all."""
    answers = await asyncio.gather(group.add(1), group.add(2, holder=holder), group.add(4), return_exceptions=True)
    assert [one for one in answers if isinstance(one, int)] == [1, 5]
    assert isinstance(answers[1], errors.Invalid | ValueError)


async def test_a_done_whose_answer_is_lost_counts_once(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """It was committed, then the connection was cut."""
    await group.add(5)
    meddling = Meddling(transport)
    lost = []

    def lose(request: Request) -> None:
        if request.method == "PUT" and not lost:
            lost.append(request)
            raise errors.Unavailable("the connection was cut")

    meddling.after = lose
    assert await of(meddling, api_server).done() == 4
    assert (await group.status()).counter == 4
    assert lost


async def test_an_operation_with_an_id_is_repeated_by_another_process_without_effect(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """A Job that is started again with the same id does not count twice."""
    await group.add(3, operation_id="plan")
    assert await of(transport, api_server).add(3, operation_id="plan") == 3
    assert await of(transport, api_server).done(operation_id="pod-1") == 2
    assert await group.done(operation_id="pod-1") == 2


async def test_the_counter_does_not_fall_below_0(group: WaitGroup):
    """An error that names the WaitGroup and the counter; clamped it stays there."""
    with pytest.raises(errors.InvalidState, match=f"WaitGroup {group.namespace}/{group.name}: the counter is 0"):
        await group.done()
    assert await group.done(clamp=True) == 0
    with pytest.raises(errors.InvalidState, match="out of range"):
        await group.add(MAX_COUNTER + 1)


async def test_counts_are_bound_to_a_pod_that_exists(group: WaitGroup, transport: KubeTransport):
    """By its uid, which is looked up; a holder that is not there is an error."""
    with pytest.raises(errors.NotFound, match="worker-0"):
        await group.add(holder=Holder(kind=HolderKind.POD, name="worker-0"))
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "worker-0"},
        "spec": {"containers": [{"name": "main", "image": "worker"}]},
    }
    body = await transport.send(requests.create(requests.PODS, group.namespace, manifest))
    pod = Holder(kind=HolderKind.POD, name="worker-0")
    await group.add(2, holder=pod)
    (holder,) = (await group.status()).holders
    assert (holder.uid, holder.count) == (json.loads(body)["metadata"]["uid"], 2)
    with pytest.raises(errors.InvalidState, match="belong to holders"):
        await group.done()
    assert await group.done(2, holder=pod) == 0


async def test_creating_twice_keeps_the_first(group: WaitGroup):
    """Whoever comes first decides about the ttl."""
    created = await group.create(ttl=timedelta(hours=1))
    assert created.spec.ttl == ""
    await group.delete()
    assert (await group.create(ttl=timedelta(hours=1))).spec.ttl == "1h"


async def test_one_that_does_not_exist_is_not_found(transport: KubeTransport, api_server: ApiServer):
    """By each call."""
    missing = of(transport, api_server, "missing")
    for call in (missing.add, missing.done, missing.wait, missing.status, missing.delete):
        with pytest.raises(errors.NotFound, match="missing"):
            await call()


async def test_a_wait_for_one_of_another_version_says_so(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """It is there, and cannot be read: that is not the same as a missing one."""

    class Foreign(Meddling):
        async def send(self, request: Request, **options: Any) -> bytes:
            return (await super().send(request, **options)).replace(b'"kind":"WaitGroup"', b'"kind":7')

    with pytest.raises(errors.ApiError, match="jobs is no WaitGroup as this version of kontinue knows it"):
        await of(Foreign(transport), api_server).wait(timeout=LONG)


async def test_a_wait_for_one_that_is_deleted_ends(group: WaitGroup, transport: KubeTransport, api_server: ApiServer):
    """Nobody waits for ever for what is gone."""
    await group.add()
    meddling = Meddling(transport)
    task = await waiting(of(meddling, api_server), meddling)
    await group.delete()
    with pytest.raises(errors.NotFound, match="was deleted"):
        await task


async def test_a_progress_that_raises_ends_its_own_wait_and_no_other(
    group: WaitGroup, transport: KubeTransport, api_server: ApiServer
):
    """Waits of a process share a watch, and nothing else."""
    await group.add(2)
    meddling = Meddling(transport)
    shared = of(meddling, api_server)

    def show(seen: Any) -> None:
        if seen.counter == 1:
            raise ValueError("no terminal")

    failing = await waiting(shared, meddling, on_progress=show)
    other = asyncio.create_task(shared.wait(timeout=LONG))
    await eventually(lambda: meddling.reads)
    await group.done()
    with pytest.raises(ValueError, match="no terminal"):
        await failing
    await group.done()
    assert (await other).counter == 0


async def test_the_synchronous_twin_does_the_same(api_server: ApiServer):
    """With the same methods and parameters."""

    def methods(of_: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of_, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if name[0] != "_"}

    assert methods(SyncWaitGroup) == methods(WaitGroup)

    def use() -> tuple[int, int, int]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            group = SyncWaitGroup("threads", client)
            group.create()
            added, done = group.add(2), group.done(2)
            group.wait(timeout=LONG)
            rounds = group.get().status.rounds + (group.status().counter or 0)
            group.delete()
            return added, done, rounds

    assert await asyncio.to_thread(use) == (2, 0, 1)


async def test_the_program_of_the_documentation_runs(group: WaitGroup, api_server: ApiServer, tmp_path: Path):
    """That of docs/coordination.md, as it stands there."""
    page = Path(__file__).parents[3] / "docs" / "coordination.md"
    (program,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "batch.py").write_text(program)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "batch.py"),
        cwd=tmp_path,
        env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"10 are done\n")
