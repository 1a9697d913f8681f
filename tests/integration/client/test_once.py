"""Onces from Python, against an API server; nobody but clients takes part: no coordinator runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api.konductor.onces import OncePhase
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube.http import KubeTransport
from kontinue.sync import Lock, Once, SyncOnce
from polling import eventually

LONG = timedelta(seconds=60)


@pytest.fixture
async def transport(api_server: ApiServer) -> AsyncIterator[KubeTransport]:
    subject = api_server.transport()
    yield subject
    await subject.close()


def of(transport: KubeTransport, api_server: ApiServer) -> Once:
    """Return another client's view, as that of another process."""
    return Once("migrate", Client.from_kube(transport, api_server.namespace))


@pytest.fixture
async def once(transport: KubeTransport, api_server: ApiServer) -> Once:
    """One that exists."""
    subject = of(transport, api_server)
    await subject.create()
    return subject


async def phase(once: Once) -> OncePhase | None:
    """Return the phase as it is stored."""
    return (await once.get()).status.phase


async def nothing(_: Lock) -> None:
    """Do the work."""


async def test_of_many_one_does_it_and_the_others_wait_until_it_is_done(
    once: Once, transport: KubeTransport, api_server: ApiServer
):
    """Nobody goes on before; whoever comes later does not do it either."""
    log: list[str] = []

    async def work(_: Lock) -> None:
        log.append("begun")
        assert await phase(once) is OncePhase.RUNNING
        await eventually(others_wait)
        log.append("done")

    async def others_wait() -> bool:
        return len((await once.get()).status.waiters) == 3

    async def start(number: int) -> bool:
        did = await of(transport, api_server).do(work, timeout=LONG, holder=f"p{number}")
        log.append("on")
        return did

    assert sorted(await asyncio.gather(*(start(number) for number in range(4)))) == [False, False, False, True]
    assert log == ["begun", "done", *["on"] * 4]
    assert not await once.do(work)
    status = (await once.get()).status
    assert (status.executed, status.phase, status.token, status.waiters) == (True, OncePhase.EXECUTED, 1, [])
    assert status.executor.startswith("p")
    assert status.executed_at is not None


async def test_work_that_raises_is_failed_and_tried_again_by_the_next_one(once: Once):
    """Its error is raised where it was done; it is Executed only when somebody got to its end."""

    async def fail(_: Lock) -> None:
        raise ValueError("no table")

    with pytest.raises(ValueError, match="no table"):
        await once.do(fail)
    status = (await once.get()).status
    assert (status.phase, status.executed, status.failure) == (OncePhase.FAILED, False, "ValueError: no table")
    assert await once.do(nothing)
    assert (await once.get()).status.failure == ""
    assert (await once.get()).status.token == 2


async def test_work_that_is_no_async_function_is_told_so(once: Once):
    """Whoever blocks the event loop could not renew his lease; it is not Executed."""
    with pytest.raises(TypeError, match=r"work=<.*>: expected an async function; .* `async with once.running\(\)`"):
        await once.do(lambda _: None)  # type: ignore[arg-type, return-value]
    status = (await once.get()).status
    assert (status.phase, status.failure.partition(":")[0]) == (OncePhase.FAILED, "TypeError")


async def test_who_does_not_wait_is_told_who_does_it(once: Once):
    """With a timeout of 0 at once, else in time."""

    async def work(_: Lock) -> None:
        with pytest.raises(errors.Held, match="is held by me"):
            await once.do(nothing, timeout=timedelta())
        with pytest.raises(errors.WaitTimeout, match="it is held by me"):
            await once.do(nothing, timeout=timedelta(seconds=6))  # long enough to hear who does it

    assert await once.do(work, holder="me")


async def test_one_that_has_been_done_is_not_entered_again(once: Once, transport: KubeTransport, api_server: ApiServer):
    """Not even inside of another one, which fails by it: that has not been done."""
    assert await once.do(nothing)
    other = Once("seed", Client.from_kube(transport, api_server.namespace))
    await other.create()

    async def work(_: Lock) -> None:
        async with once.running():
            pytest.fail("it has been done")

    with pytest.raises(errors.AlreadyExecuted, match=r"Once .*/migrate has been executed"):
        await other.do(work)
    assert not await other.is_executed()


async def test_a_crash_in_the_middle_is_not_executed(once: Once, api_server: ApiServer):
    """The process is killed: the next one does it, once the lease is over."""
    script = (
        "import asyncio, sys\nfrom datetime import timedelta\nfrom kontinue.client import Client, ClientOptions\n"
        "from kontinue.sync import Once\n\nasync def work(lock):\n    print('begun', flush=True)\n"
        "    await asyncio.Event().wait()\n\nasync def main():\n"
        "    async with Client(ClientOptions(kubeconfig=sys.argv[1])) as client:\n"
        "        await Once('migrate', client).do(work, lease=timedelta(seconds=4))\n\nasyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(api_server.kubeconfig)), stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    process.kill()
    await process.wait()
    assert not await once.is_executed()
    assert await once.do(nothing, timeout=LONG)
    assert (await once.get()).status.token == 2


async def test_work_whose_lease_is_lost_is_cancelled_and_not_executed(once: Once):
    """Somebody has deleted it meanwhile."""
    is_inside = asyncio.Event()

    async def work(_: Lock) -> None:
        is_inside.set()
        await asyncio.Event().wait()

    doing = asyncio.create_task(once.do(work))
    await is_inside.wait()
    await once.delete()
    with pytest.raises(errors.LockLost):
        await doing


async def test_threads_do_it_once_with_a_sync_client(api_server: ApiServer):
    """The same without an event loop."""
    done: list[int] = []

    def use() -> tuple[bool, bool]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            once = SyncOnce("migrate", client, namespace=api_server.namespace)
            once.create()
            with pytest.raises(ZeroDivisionError):
                once.do(lambda _: 1 // 0)
            assert once.get().status.failure.startswith("ZeroDivisionError")
            for work in (nothing, 5):  # of an async function nothing would be done
                with pytest.raises(TypeError, match=r"work=.*: expected a function that is not async"):
                    once.do(work)  # type: ignore[arg-type]
            first = once.do(lambda lock: done.append(lock.token))
            second = once.do(lambda lock: done.append(lock.token))
            assert once.is_executed()
            assert once.status().phase is OncePhase.EXECUTED
            with pytest.raises(errors.AlreadyExecuted), once.running():
                done.append(0)
            once.delete()
            return first, second

    assert await asyncio.to_thread(use) == (True, False)
    assert done == [3]
