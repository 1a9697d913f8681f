"""A Lease is taken by one, kept by renewals in time, lost with an error, and given back."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import Lease
from kontinue_engine.kube.lease import LeaderLease, LeaseHeld, LeaseLost
from kontinue_engine.kube.process_identity import LeaseIdentity
from virtual_time import elapsed_s, virtual_time


class LoopClock:
    """Time of the test's loop."""

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=elapsed_s())

    def now_ms(self):
        return int(self.now().timestamp() * 1000)

    def monotonic_s(self):
        return elapsed_s()


class Server:
    """One Lease with optimistic locking. ``failure`` is raised by every request while it is set."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.failure = None
        self.loses_answers = False

    async def send(self, request, *, retries=True, repeatable=None, retry_for_s=None, timeout_s=None):
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        if request.method != "GET":
            self._write(request)
            if self.loses_answers:
                raise errors.Unavailable("cut")
        if self.lease is None:
            raise errors.NotFound("no Lease", status=404)
        return msgspec.json.encode(self.lease)

    def _write(self, request):
        new = msgspec.json.decode(request.body, type=Lease)
        if request.method == "POST" and self.lease is not None:
            raise errors.AlreadyExists("exists", status=409)
        if request.method == "PUT":
            if self.lease is None:
                raise errors.NotFound("no Lease", status=404)
            if new.metadata.resource_version != self.lease.metadata.resource_version:
                raise errors.Conflict("changed", status=409)
        self.store(new)

    def store(self, lease):
        self.version += 1
        metadata = msgspec.structs.replace(lease.metadata, resource_version=str(self.version))
        self.lease = msgspec.structs.replace(lease, metadata=metadata)


def identity(shard, *, boot_id="boot/1", pid=1):
    return LeaseIdentity(
        shard=shard, incarnation=f"inc-{shard}", host=f"host-{shard}", boot_id=boot_id, pid=pid, process_started="7"
    )


def lease_of(server, shard="a", *, alive=(), **options):
    """Return a Lease object; ``alive`` are the pids of this machine that live."""
    return LeaderLease(
        server,
        "ns",
        "leader",
        identity(shard, **options),
        clock=LoopClock(),
        process_start=lambda pid: "7" if pid in alive else None,
    )


@virtual_time
async def test_a_free_lease_is_taken_and_described():
    """The holder writes itself into it."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    assert lease.previous_released
    assert server.lease.spec.holder_identity == "a"
    assert server.lease.metadata.annotations["kontinue.cloud/pid"] == "1"
    assert lease.remaining_s == 35


@virtual_time
async def test_a_live_holder_is_named_with_a_remedy():
    """The second one refuses at once."""
    server = Server()
    await lease_of(server, "a", pid=5).acquire()
    with pytest.raises(LeaseHeld, match=r"held by 'a' on host host-a, pid 5, renewed last at .* Stop that worker"):
        await lease_of(server, "b", alive={5}).acquire()
    assert elapsed_s() == 0


@virtual_time
async def test_a_dead_holder_of_this_machine_is_replaced_at_once():
    """Its pid is gone, or belongs to somebody else now."""
    server = Server()
    await lease_of(server, "a", pid=5).acquire()
    successor = lease_of(server, "b")
    await successor.acquire()
    assert elapsed_s() == 0
    assert not successor.previous_released
    assert server.lease.spec.holder_identity == "b"
    assert server.lease.spec.lease_transitions == 1


@virtual_time
async def test_a_silent_holder_elsewhere_is_replaced_after_its_duration():
    """Timed by our own clock from when we saw it first."""
    server = Server()
    await lease_of(server, "a", boot_id="boot/2").acquire()
    await lease_of(server, "b").acquire()
    assert 40 <= elapsed_s() < 45
    assert server.lease.spec.holder_identity == "b"


@virtual_time
async def test_a_renewing_holder_elsewhere_is_refused_when_it_renews():
    """No need to wait for the whole duration."""
    server = Server()
    holder = lease_of(server, "a", boot_id="boot/2")
    await holder.acquire()
    renewing = asyncio.ensure_future(holder.run())
    with pytest.raises(LeaseHeld):
        await lease_of(server, "b").acquire()
    assert elapsed_s() <= 12
    renewing.cancel()


@virtual_time
async def test_a_released_lease_is_taken_at_once():
    """Whoever waits need not wait for the duration."""
    server = Server()
    first = lease_of(server, "a", boot_id="boot/2")
    await first.acquire()
    await first.release()
    second = lease_of(server, "b")
    await second.acquire()
    assert second.previous_released
    assert elapsed_s() == 0
    assert first.remaining_s < 0


@virtual_time
async def test_release_leaves_the_lease_of_a_successor_alone():
    """Who lost it has nothing to give back."""
    server = Server()
    first = lease_of(server, "a", pid=5)
    await first.acquire()
    await lease_of(server, "b").acquire()
    await first.release()
    assert server.lease.spec.holder_identity == "b"


@virtual_time
async def test_renewals_keep_it_for_ever():
    """Even when somebody annotates it in between."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(95)
    server.store(server.lease)
    await asyncio.sleep(100)
    assert not running.done()
    assert lease.remaining_s > 20
    running.cancel()


@virtual_time
async def test_an_outage_shorter_than_the_duration_is_survived():
    """Renewals are retried until they succeed."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(30)
    server.failure = None
    await asyncio.sleep(20)
    assert not running.done()
    running.cancel()


@virtual_time
async def test_an_outage_as_long_as_the_duration_loses_it_in_time():
    """It is lost before others may take it."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    server.failure = errors.Unavailable("away")
    with pytest.raises(LeaseLost, match="not renewed for 40 s: away"):
        await lease.run()
    assert 35 <= elapsed_s() < 40


@virtual_time
async def test_a_lease_taken_by_somebody_else_is_lost_at_the_next_renewal():
    """The message says who has it."""
    server = Server()
    lease = lease_of(server, "a", pid=5)
    await lease.acquire()
    await lease_of(server, "b").acquire()
    with pytest.raises(LeaseLost, match="taken by 'b'"):
        await lease.run()
    assert elapsed_s() == 10


@virtual_time
async def test_a_deleted_lease_is_lost():
    """Somebody may have taken it meanwhile."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    server.lease = None
    with pytest.raises(LeaseLost, match="deleted"):
        await lease.run()


@virtual_time
async def test_of_many_that_want_it_one_gets_it():
    """Optimistic locking decides; all others see a live holder."""
    server = Server()
    wanted = [lease_of(server, f"s{i}", pid=i, alive=set(range(1, 9))) for i in range(1, 9)]
    results = await asyncio.gather(*(lease.acquire() for lease in wanted), return_exceptions=True)
    assert [type(result) for result in results].count(LeaseHeld) == 7
    assert sum(lease.remaining_s > 0 for lease in wanted) == 1


@virtual_time
async def test_a_lost_answer_is_recognised_as_our_own_write():
    """The Lease carries our incarnation."""
    server = Server()
    lease = lease_of(server)
    server.loses_answers = True
    acquiring = asyncio.ensure_future(lease.acquire())
    await asyncio.sleep(1)
    server.loses_answers = False
    await acquiring
    assert server.lease.spec.holder_identity == "a"


@virtual_time
async def test_times_always_have_six_digits():
    """kube-apiserver refuses a MicroTime without a fraction."""
    server = Server()
    await lease_of(server).acquire()
    assert server.lease.spec.renew_time.microsecond != 0


@virtual_time
async def test_a_failed_release_is_only_logged(caplog):
    """A stop goes on without the server."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    server.failure = errors.Unavailable("away")
    await lease.release()
    assert "not released" in caplog.text
