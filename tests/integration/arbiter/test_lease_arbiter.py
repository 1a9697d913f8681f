"""The coordinator of ``konductor.io`` grants Leases: one holder at a time, by priority, for as long as he renews it."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import ApiServer
from kontinue import errors
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.sync import Lease, LeasePhase, LeaseRequestPhase, Lock, SyncLease
from kontinue.sync.holding.locker import Locker
from looked_after import World, start_coordinator
from polling import eventually

LONG = timedelta(seconds=60)
NOW = timedelta()
BRIEF = timedelta(seconds=6)
"""Long enough for the server to answer."""


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


@pytest.fixture
async def lease(world: World) -> Lease:
    """``deploy``, held until it is released."""
    subject = Lease("deploy", world.client)
    await subject.create(ttl=None)
    return subject


async def is_in(lease: Lease, phase: LeasePhase) -> bool:
    """Tell whether it is in a phase."""
    return (await lease.get()).status.phase is phase


async def has_waiting(lease: Lease, number: int) -> bool:
    """Tell whether so many wait."""
    return (await lease.get()).status.waiting == number


async def phases(lease: Lease) -> dict[str, LeaseRequestPhase | None]:
    """Return what has become of each request, by its holder."""
    return {one.spec.holder: one.status.phase for one in await lease.requests()}


async def queued(lease: Lease, holder: str, *, behind: int, **options: Any) -> asyncio.Task[Lock]:
    """Start to acquire; return once the coordinator has seen it."""
    task = asyncio.create_task(lease.acquire(holder=holder, timeout=LONG, **options))
    await eventually(lambda: has_waiting(lease, behind + 1))
    return task


async def test_a_fresh_lease_is_available(world: World, lease: Lease):
    """As kubectl is documented to show it."""
    async with world.looked_after():
        await eventually(lambda: is_in(lease, LeasePhase.AVAILABLE))
    assert await lease.is_available()
    assert (await lease.create(ttl=LONG)).spec.ttl == "", "one that exists is left as it is"


async def test_it_is_granted_to_one_and_says_to_whom(world: World, lease: Lease):
    """Who, since when, until when, by which token and request; the request says so, too."""
    async with world.looked_after():
        lock = await lease.acquire(holder="me", ttl=LONG, timeout=NOW)
        held = (await lease.get()).status
        assert (held.holder, held.phase, held.token, held.renew_count) == ("me", LeasePhase.HELD, 1, 0)
        assert held.acquired_at is not None
        assert held.expires_at == held.acquired_at + LONG
        (request,) = await lease.requests()
        assert (request.metadata.name, request.metadata.uid) == (held.request, held.request_uid)
        assert (request.status.phase, request.status.token, lock.token) == (LeaseRequestPhase.GRANTED, 1, 1)
        assert request.status.requested_at == request.metadata.creation_timestamp
        with pytest.raises(errors.Held, match=r"Lease .*/deploy is held by me$"):
            await lease.acquire(holder="you", timeout=NOW)
        await lease.release(lock)
        await eventually(lambda: is_in(lease, LeasePhase.AVAILABLE))
        assert (await lease.acquire(holder="you", timeout=LONG)).token == 2


async def test_the_highest_priority_is_first_and_then_the_oldest(world: World, lease: Lease):
    """Those that say nothing have the Lease's own."""
    order: list[str] = []
    async with world.looked_after():
        held = await lease.acquire(holder="first", timeout=LONG)

        async def work(holder: str, priority: int | None) -> None:
            async with lease.held(holder=holder, priority=priority, timeout=LONG):
                order.append(holder)

        tasks = []
        for holder, priority in {"low": None, "high": 7, "late": 0, "higher": 9, "also-high": 7}.items():
            tasks.append(asyncio.create_task(work(holder, priority)))
            await eventually(lambda: has_waiting(lease, len(tasks)))
        await eventually(lambda: _are_pending(lease, len(tasks)))
        await lease.release(held)
        await asyncio.gather(*tasks)
    assert order == ["higher", "high", "also-high", "low", "late"]


async def _are_pending(lease: Lease, number: int) -> bool:
    return list((await phases(lease)).values()).count(LeaseRequestPhase.PENDING) == number


async def test_two_never_hold_it_at_once(world: World, lease: Lease, api_server: ApiServer):
    """Although two coordinators work; a ledger sees one holder at a time, and tokens that grow."""
    transports = [api_server.transport() for _ in range(4)]
    inside, tokens = 0, list[int]()

    async def work(number: int) -> None:
        nonlocal inside
        subject = Lease("deploy", World(transports[number], world.namespace).client)
        for _ in range(3):
            async with subject.held(timeout=LONG, holder=f"w{number}", ttl=LONG) as lock:
                inside += 1
                assert inside == 1
                tokens.append(lock.token)
                await asyncio.sleep(0)
                inside -= 1

    async with world.looked_after(), world.looked_after():
        await asyncio.gather(*map(work, range(4)))
        await eventually(lambda: is_in(lease, LeasePhase.AVAILABLE))
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 12
    for transport in transports:
        await transport.close()


async def test_who_does_not_renew_it_loses_it(world: World, lease: Lease):
    """The next one gets it, with a higher token; an Event tells, and the late one cannot release it."""
    async with world.looked_after():
        dead = await lease.acquire(holder="dead", timeout=LONG)
        await edit(world, {"ttl": "1ms"})
        next_ = await lease.acquire(holder="next", timeout=LONG)
        assert next_.token == dead.token + 1
        for late in (lease.release(dead), lease.renew(dead)):
            with pytest.raises(errors.Held, match="is held by next, not by dead"):
                await late
        await eventually(lambda: _tells(world, "Expired", "dead has not renewed it within 1ms: token 1 is over"))
        await eventually(lambda: _has_only(lease, "next"))


async def _has_only(lease: Lease, holder: str) -> bool:
    return list(await phases(lease)) == [holder]


async def _tells(world: World, reason: str, message: str) -> bool:
    return await world.events(reason) == [message]


async def test_one_that_nobody_wants_is_expired(world: World, lease: Lease):
    """Until somebody asks; its dead holder's request is deleted."""
    async with world.looked_after():
        await lease.acquire(holder="dead", timeout=LONG)
        await edit(world, {"ttl": "1ms"})
        await eventually(lambda: is_in(lease, LeasePhase.EXPIRED))
        assert await lease.is_available()
        await eventually(lambda: _has_no_requests(lease))
        assert (await lease.acquire(holder="next", timeout=NOW)).token == 2


async def _has_no_requests(lease: Lease) -> bool:
    return not await lease.requests()


async def test_a_dead_holder_is_found_by_another_coordinator(world: World, lease: Lease):
    """That has seen nothing of it: the time of a holder is measured by whoever looks."""
    async with world.looked_after():
        await lease.acquire(holder="dead", timeout=LONG)
    await edit(world, {"ttl": "1ms"})
    async with world.looked_after():
        assert (await lease.acquire(holder="next", timeout=LONG)).token == 2


async def test_it_is_renewed_while_its_scope_lasts(world: World, lease: Lease, monkeypatch: pytest.MonkeyPatch):
    """And by hand; ``renewCount`` counts."""
    monkeypatch.setattr("kontinue.sync.holding.renewing.RENEW_AFTER", 0.001)
    async with world.looked_after():
        async with lease.held(holder="me", ttl=LONG, timeout=LONG) as lock:

            async def has_been_renewed() -> bool:
                return (await lease.get()).status.renew_count > 2

            await eventually(has_been_renewed)
            assert not lock.is_lost
        monkeypatch.undo()
        lock = await lease.acquire(holder="me", ttl=LONG, timeout=LONG)
        before = (await lease.get()).status
        assert (lock.token, before.renew_count) == (2, 0)
        renewed = (await lease.renew(holder="me")).status
        assert renewed.renew_count == 1
        assert renewed.expires_at is not None
        assert before.expires_at is not None
        assert renewed.expires_at > before.expires_at
        with pytest.raises(errors.Held, match="with token 2, not 1"):
            await lease.renew(holder="me", token=1)


async def test_who_has_waited_for_long_renews_it_when_he_gets_it(
    world: World, lease: Lease, monkeypatch: pytest.MonkeyPatch
):
    """He cannot know when it was granted: his time begins with a write of his own."""
    async with world.looked_after():
        held = await lease.acquire(holder="first", timeout=LONG)
        task = await queued(lease, "late", behind=0, ttl=LONG)
        monkeypatch.setattr("kontinue.sync.holding.renewing.RENEW_AFTER", 0.0)  # of its ttl: for long
        await lease.release(held)
        await task
        assert (await lease.get()).status.renew_count == 1


async def test_who_loses_it_before_he_could_renew_it_asks_again(
    world: World, lease: Lease, monkeypatch: pytest.MonkeyPatch
):
    """He has never held it: nobody is told of a lock that somebody else has."""
    monkeypatch.setattr("kontinue.sync.holding.renewing.RENEW_AFTER", 0.0)
    renew = Locker.renew

    async def late(locker: Any, grant_id: str, holder: str, token: int | None = None) -> Any:
        monkeypatch.undo()
        await locker.give_back(grant_id, holder)
        return await renew(locker, grant_id, holder, token)

    monkeypatch.setattr(Locker, "renew", late)
    async with world.looked_after():
        assert (await lease.acquire(holder="me", ttl=LONG, timeout=LONG)).token == 2


async def test_a_holder_whose_request_is_deleted_is_told(world: World, lease: Lease):
    """``kubectl delete leaserequest`` frees it; the work under it is ended."""
    async with world.looked_after():
        with pytest.raises(errors.LockLost, match="is not held by me any more"):
            await _held_until_deleted(world, lease)
        assert (await lease.acquire(holder="next", timeout=LONG)).token == 2


async def _held_until_deleted(world: World, lease: Lease) -> None:
    async with lease.held(holder="me", timeout=LONG):
        (request,) = await lease.requests()
        name = request.metadata.name
        await world.transport.send(requests.delete(requests.LEASE_REQUESTS, world.namespace, name))
        await asyncio.Event().wait()


async def test_it_ends_with_its_pod_or_execution(world: World, lease: Lease):
    """And so does the waiting; Events tell."""
    pod, build = await world.pod("worker-0"), await world.execution("build")
    async with world.looked_after():
        await lease.acquire(holder=pod, timeout=LONG)
        bound = await queued(lease, build, behind=0)  # type: ignore[arg-type]
        assert set(await phases(lease)) == {"pod/worker-0", "execution/build"}
        told = {
            f"{one.spec.bound_to} has ended: its LeaseRequest {one.metadata.name} is deleted"
            for one in await lease.requests()
        }
        assert len(told) == 2
        free = await queued(lease, "free", behind=1)
        await world.set_phase(requests.EXECUTIONS, "build", "Failed")
        with pytest.raises(errors.InvalidState, match="was deleted while it waited"):
            await bound
        await world.transport.send(requests.delete(requests.PODS, world.namespace, "worker-0"))
        assert (await free).token == 2
        await eventually(lambda: _are_told(world, told))


async def _are_told(world: World, messages: set[str]) -> bool:
    return messages <= set(await world.events("HolderGone"))


async def test_who_stops_waiting_withdraws(world: World, lease: Lease):
    """By the timeout, or by being cancelled; the next one is not held up."""
    async with world.looked_after():
        held = await lease.acquire(holder="me", timeout=LONG)
        with pytest.raises(errors.WaitTimeout, match="was not free within 6s"):
            await lease.acquire(timeout=BRIEF)
        task = await queued(lease, "cancelled", behind=0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(await phases(lease)) == ["me"]
        await lease.release(held)
        # Not always the next one: a coordinator that hears late that somebody has gone has granted it to him first.
        assert (await lease.acquire(timeout=LONG)).token > held.token


class Blindfold(KubeTransport):
    """Neither watches nor lists while it is on.

    Attributes:
        is_on: whether it is.
        forgets: whether the server does not know any more what happened meanwhile.
    """

    is_on = False
    forgets = False

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        if "fieldSelector" in request.query:
            await self._sees()
        return await super().send(request, **options)

    async def stream(self, request: requests.Request, **options: Any) -> AsyncGenerator[bytes, None]:
        async with aclosing(super().stream(request, **options)) as lines:
            async for line in lines:
                if self.is_on:
                    await self._sees()
                    if self.forgets:
                        raise errors.Gone("too old resource version", status=410, reason="Expired")
                yield line

    async def _sees(self) -> None:
        while self.is_on:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("forgets", [False, True])
async def test_who_could_not_see_that_it_was_his_asks_again(
    world: World, lease: Lease, api_server: ApiServer, forgets: bool
):
    """He was granted it, did not hear of it, and has lost it as he did not renew it: he waits on, as he was told to."""
    transport = Blindfold(api_server.config, user_agent="tests")
    transport.forgets = forgets
    client = Client.from_kube(transport, api_server.namespace)
    async with world.looked_after():
        first = await lease.acquire(holder="first", timeout=LONG)
        second = await queued(Lease("deploy", client), "second", behind=0, ttl=timedelta(seconds=1))
        transport.is_on = True
        await lease.release(first)
        await eventually(lambda: is_in(lease, LeasePhase.EXPIRED))
        await eventually(lambda: has_no_requests(lease))
        transport.is_on = False
        assert (await second).token > 2
    await transport.close()


async def has_no_requests(lease: Lease) -> bool:
    """Tell whether nobody asks any more."""
    return not await lease.requests()


async def test_without_a_coordinator_nothing_is_granted(lease: Lease):
    """And the request is withdrawn."""
    with pytest.raises(errors.WaitTimeout):
        await lease.acquire(timeout=BRIEF)
    assert await lease.requests() == []
    with pytest.raises(errors.InvalidState, match="is not held by anybody"):
        await lease.release(holder="me")


@pytest.mark.slow
async def test_a_killed_coordinator_is_replaced(world: World, lease: Lease, api_server: ApiServer):
    """While one waits: who holds it keeps it, and the other one gets it afterwards."""
    processes = [await start_coordinator(api_server) for _ in range(2)]
    try:
        held = await lease.acquire(holder="first", timeout=LONG)
        task = await queued(lease, "next", behind=0)
        processes[0].kill()
        await processes[0].wait()
        await lease.release(held)
        assert (await task).token == 2
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_an_edited_status_is_put_right(world: World, lease: Lease):
    """A holder without a request holds nothing, and tokens grow although somebody has set them back."""
    async with world.looked_after():
        await edit(world, {"holder": "nobody", "phase": "Held", "token": 6})
        await eventually(lambda: lease.is_available())
        lock = await lease.acquire(holder="me", timeout=LONG)
        assert lock.token == 7
        await edit(world, {"holder": "", "request": "", "requestUid": "", "phase": "Available", "token": 0})
        assert (await lease.acquire(holder="next", timeout=LONG)).token == 8
        await eventually(lambda: _has_only(lease, "next"))


async def edit(world: World, status: dict[str, Any]) -> None:
    """Change the status of ``deploy`` as ``kubectl edit`` does."""
    patch = {"status": status}
    request = requests.merge_patch(requests.KONDUCTOR_LEASES, world.namespace, "deploy", patch, subresource="status")
    await world.transport.send(request)


async def test_a_lease_that_is_deleted_ends_the_waits_for_it(world: World, lease: Lease):
    """Its requests go with it; one that is made again begins anew."""
    async with world.looked_after():
        await lease.acquire(timeout=LONG)
        task = await queued(lease, "late", behind=0)
        await lease.delete()
        with pytest.raises((errors.NotFound, errors.InvalidState)):
            await task
        await lease.create()
        assert (await lease.acquire(timeout=LONG)).token == 1


@pytest.mark.parametrize(
    ("name", "holder"), [("a" * 63, "b" * 253), ("a.b", "Ünï/cödé \N{FIRE}"), ("a", "b-c"), ("a-b", "c")]
)
async def test_any_name_and_any_holder_will_do(world: World, name: str, holder: str):
    """Although names of requests are made of both."""
    subject = Lease(name, world.client)
    await subject.create()
    async with world.looked_after(), subject.held(holder=holder, timeout=LONG):
        assert (await subject.get()).status.holder == holder
        (request,) = await subject.requests()
        (owner,) = request.metadata.owner_references
        assert (owner.kind, owner.name, owner.uid) == ("Lease", name, (await subject.get()).metadata.uid)


async def test_what_cannot_be_is_an_error(world: World, lease: Lease):
    """Before anything is created."""
    with pytest.raises(errors.InvalidState, match="is longer than 253 characters"):
        await lease.acquire(holder="x" * 254)
    with pytest.raises(errors.Invalid):
        await lease.acquire(priority=-1)
    with pytest.raises(errors.NotFound):
        await Lease("missing", world.client).acquire(timeout=NOW)


async def test_the_program_of_the_documentation_runs(world: World, api_server: ApiServer, tmp_path: Path):
    """That of docs/leases.md, as it stands there; its manifests, too."""
    page = (Path(__file__).parents[3] / "docs" / "leases.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (first, second) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    send = world.transport.send
    await send(requests.create(requests.KONDUCTOR_LEASES, world.namespace, yaml.safe_load(first)))
    request = yaml.safe_load(second)
    await send(requests.create(requests.LEASE_REQUESTS, world.namespace, request))
    (tmp_path / "deploy.py").write_text(program)
    async with world.looked_after():
        await eventually(lambda: _is_granted(world, request["spec"]["lease"], request["spec"]["holder"]))
        await send(requests.delete(requests.LEASE_REQUESTS, world.namespace, request["metadata"]["name"]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "deploy.py"),
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"deployed with token 2\n")


async def _is_granted(world: World, name: str, holder: str) -> bool:
    return await phases(Lease(name, world.client)) == {holder: LeaseRequestPhase.GRANTED}


async def test_the_synchronous_twin_does_the_same(world: World, api_server: ApiServer):
    """With the same methods and parameters."""

    def methods(of_: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of_, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if name[0] != "_"}

    assert methods(SyncLease) == methods(Lease)

    def use() -> list[object]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            deploy = SyncLease("deploy", client)
            deploy.create(ttl=LONG, priority=3)
            with deploy.held(holder="block", timeout=LONG) as lock:
                seen: list[object] = [lock.token, len(deploy.requests()), deploy.is_available()]
            lock = deploy.acquire(holder="me", timeout=LONG)
            seen += [deploy.renew(lock).status.renew_count, deploy.get().spec.priority]
            deploy.release(lock)
            deploy.delete()
            return seen

    async with world.looked_after():
        assert await asyncio.to_thread(use) == [1, 1, False, 1, 3]
