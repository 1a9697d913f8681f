"""A Lease is taken by one, kept by renewals in time, lost with an error, and given back."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.kube.lease import HeldLease, LeaseHeld, LeaseLost
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from virtual_time import elapsed_s, virtual_time


class LoopClock:
    """Time of the test's loop. Raise ``slept_s`` as a machine does that slept."""

    def __init__(self):
        self.slept_s = 0.0

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=elapsed_s())

    def now_ms(self):
        return int(self.now().timestamp() * 1000)

    def monotonic_s(self):
        return elapsed_s() + self.slept_s


class Server:
    """One Lease with optimistic locking. ``failure`` is raised by every request while it is set, after ``hangs_s``."""

    def __init__(self):
        self.hangs_s = 0
        self.lease = None
        self.version = 0
        self.failure = None
        self.loses_answers = False

    async def send(self, request, *, retries=True, repeatable=None, retry_for_s=None, timeout_s=None):
        await asyncio.sleep(self.hangs_s)
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


class Fences:
    """When a holder was told to stop and to go on."""

    def __init__(self):
        self.told = []

    def run(self, lease):
        """Keep the Lease in a task."""
        return asyncio.ensure_future(
            lease.run(
                on_fence=lambda: self.told.append(("fence", elapsed_s())),
                on_resume=lambda: self.told.append(("resume", elapsed_s())),
            )
        )


def identity(shard, *, boot_id="boot/1", pid=1, incarnation=None, **more):
    return ReplicaIdentity(
        shard=shard,
        incarnation=incarnation or f"inc-{shard}",
        host=f"host-{shard}",
        boot_id=boot_id,
        pid=pid,
        process_started="7",
        **more,
    )


def lease_of(server, shard="a", *, alive=(), clock=None, **options):
    """Return a Lease object; ``alive`` are the pids of this machine that live."""
    return HeldLease(
        server,
        "ns",
        "leader",
        identity(shard, **options),
        group="g",
        clock=clock or LoopClock(),
        times=LeaseTimes(),
        process_start=lambda pid: "7" if pid in alive else None,
    )


def edit(server, **changes):
    """Change the Lease's spec as somebody else would."""
    server.store(msgspec.structs.replace(server.lease, spec=msgspec.structs.replace(server.lease.spec, **changes)))


def expire(server):
    """Take the Lease away, as a leader does with a shard that is silent."""
    notes = {**server.lease.metadata.annotations, labels.EXPIRED_BY: "inc-leader"}
    metadata = msgspec.structs.replace(server.lease.metadata, annotations=notes)
    server.lease = msgspec.structs.replace(server.lease, metadata=metadata)
    edit(server, holder_identity="")


@virtual_time
async def test_a_free_lease_is_taken_and_described():
    """The holder writes itself into it."""
    server = Server()
    lease = lease_of(server, pod_uid="pod", build="b1")
    await lease.acquire()
    assert not lease.dead_predecessor
    assert server.lease.spec.holder_identity == "a"
    assert server.lease.metadata.labels == {labels.WORKER_GROUP: "g"}
    assert server.lease.metadata.annotations == {
        labels.INCARNATION: "inc-a",
        labels.HOST: "host-a",
        labels.BOOT_ID: "boot/1",
        labels.PID: "1",
        labels.PROCESS_STARTED: "7",
        labels.POD_UID: "pod",
        labels.BUILD: "b1",
    }
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
    assert successor.dead_predecessor == "inc-a"
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
    assert not second.dead_predecessor
    assert elapsed_s() == 0
    assert first.remaining_s < 0


@virtual_time
async def test_a_renewal_that_was_under_way_does_not_prevent_a_release():
    """A canceled request may still be carried out; the next holder must not wait a whole duration for that."""

    class LateRenewal(Server):
        async def send(self, request, **options):
            body = await super().send(request, **options)
            if is_releasing and request.method == "GET":
                is_releasing.pop()
                edit(self, renew_time=datetime(2026, 1, 2, tzinfo=UTC))
            return body

    is_releasing: list[bool] = []
    server = LateRenewal()
    lease = lease_of(server)
    await lease.acquire()
    is_releasing.append(True)
    await lease.release()
    assert server.lease.spec.holder_identity == ""


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
    """Renewals are retried until they succeed, and nothing is stopped."""
    server, fences = Server(), Fences()
    lease = lease_of(server)
    await lease.acquire()
    running = fences.run(lease)
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(30)
    server.failure = None
    await asyncio.sleep(20)
    assert fences.told == []
    assert lease.remaining_s > 0
    running.cancel()


@virtual_time
async def test_an_outage_as_long_as_the_duration_fences_its_holder_in_time_and_once():
    """It has stopped before others may take over, and goes on trying: nobody else may have come."""
    server, fences = Server(), Fences()
    lease = lease_of(server)
    await lease.acquire()
    running = fences.run(lease)
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(300)
    assert fences.told == [("fence", 35)]
    assert lease.remaining_s < 0
    assert not running.done()
    running.cancel()


@virtual_time
async def test_a_machine_that_has_slept_fences_itself_a_second_after_it_wakes():
    """Its timers have slept too: the next renewal would be far too late."""
    server, fences = Server(), Fences()
    clock = LoopClock()
    lease = lease_of(server, clock=clock)
    await lease.acquire()
    running = fences.run(lease)
    await asyncio.sleep(11.5)
    clock.slept_s = 60.0
    server.failure = errors.Unavailable("not back yet")
    await asyncio.sleep(20)
    assert fences.told == [("fence", 12)]
    running.cancel()


@virtual_time
async def test_a_renewal_that_hangs_does_not_delay_the_fence():
    """The first answer is a conflict, and the look at what stands there gets none."""
    server, fences = Server(), Fences()
    lease = lease_of(server)
    await lease.acquire()
    running = fences.run(lease)
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(30)
    server.hangs_s = 30
    await asyncio.sleep(30)
    assert fences.told == [("fence", 35)]
    running.cancel()


@virtual_time
async def test_who_is_fenced_goes_on_when_a_renewal_succeeds():
    """Its Lease is as it was, so nobody has started its work."""
    server, fences = Server(), Fences()
    lease = lease_of(server)
    await lease.acquire()
    running = fences.run(lease)
    for _ in range(2):
        server.failure = errors.Unavailable("away")
        await asyncio.sleep(100)
        server.failure = None
        await asyncio.sleep(100)
    assert [what for what, _ in fences.told] == ["fence", "resume"] * 2
    assert lease.remaining_s > 20
    running.cancel()


@virtual_time
async def test_who_wants_to_write_waits_while_the_lease_may_be_somebody_elses():
    """And goes on when a renewal has shown that it is not."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    await lease.until_valid()
    assert elapsed_s() == 0
    running = asyncio.ensure_future(lease.run())
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(36)
    writing = asyncio.ensure_future(lease.until_valid())
    await asyncio.sleep(60)
    assert not writing.done()
    server.failure = None
    await writing
    assert lease.remaining_s > 0
    running.cancel()


@pytest.mark.parametrize("lost_to", ["another", "nobody: expired by the leader", "nobody: deleted"])
@virtual_time
async def test_who_is_fenced_and_has_lost_the_lease_never_goes_on(lost_to):
    """Its work may have been started elsewhere."""
    server, fences = Server(), Fences()
    lease = lease_of(server, "a", pid=5)
    await lease.acquire()
    running = fences.run(lease)
    server.failure = errors.Unavailable("away")
    await asyncio.sleep(60)
    server.failure = None
    if lost_to == "another":
        await lease_of(server, "b").acquire()
    elif lost_to == "nobody: deleted":
        server.lease = None
    else:
        expire(server)
    with pytest.raises(LeaseLost):
        await running
    assert fences.told == [("fence", 35)]
    assert lease.remaining_s < 0


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
    assert lease.remaining_s < 0


@virtual_time
async def test_a_lease_that_a_leader_took_away_is_lost_and_was_not_released():
    """Whoever has the shard next must expect work that was cut off."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    expire(server)
    with pytest.raises(LeaseLost, match="taken away: it had not been renewed in time"):
        await lease.run()
    successor = lease_of(server, "b")
    await successor.acquire()
    assert successor.dead_predecessor == "inc-a"
    assert labels.EXPIRED_BY not in server.lease.metadata.annotations


@virtual_time
async def test_a_holder_whose_lease_is_deleted_makes_it_again_as_soon_as_it_hears_of_it():
    """Until then nobody knows that the shard is taken. It stays the same tenure."""
    server, fences = Server(), Fences()
    lease = lease_of(server)
    await lease.acquire()
    running = fences.run(lease)
    await asyncio.sleep(3)
    before, server.lease = server.lease, None
    lease.seen(None)
    await asyncio.sleep(0.1)
    assert server.lease is not None
    assert server.lease.metadata.annotations == before.metadata.annotations
    assert server.lease.metadata.labels == before.metadata.labels
    assert server.lease.spec.holder_identity == "a"
    assert server.lease.spec.acquire_time == before.spec.acquire_time
    await asyncio.sleep(300)
    assert not running.done()
    assert fences.told == []
    running.cancel()


@virtual_time
async def test_a_deleted_lease_is_made_again_at_the_next_renewal_at_the_latest():
    """Watches may be late."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(3)
    server.lease = None
    await asyncio.sleep(10)
    assert server.lease.spec.holder_identity == "a"
    running.cancel()


@virtual_time
async def test_a_holder_whose_lease_is_deleted_and_taken_has_lost_it_as_soon_as_it_hears_of_it():
    """The other one may have started its work."""
    server = Server()
    lease = lease_of(server, "a", pid=5)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(3)
    server.lease = None
    await lease_of(server, "b").acquire()
    lease.seen(server.lease)
    with pytest.raises(LeaseLost, match="taken by 'b'"):
        await running
    assert elapsed_s() == 3


@virtual_time
async def test_a_holder_that_is_slower_than_another_one_to_make_the_lease_again_has_lost_it():
    """Optimistic locking decides."""

    class Slower(Server):
        async def send(self, request, **options):
            if request.method == "POST" and is_deleted:
                is_deleted.clear()
                await lease_of(self, "b").acquire()
            return await super().send(request, **options)

    is_deleted: list[bool] = []
    server = Slower()
    lease = lease_of(server, "a", pid=5)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(3)
    server.lease = None
    is_deleted.append(True)
    lease.seen(None)
    with pytest.raises(LeaseLost, match="taken by 'b'"):
        await running
    assert server.lease.spec.holder_identity == "b"


@virtual_time
async def test_a_lease_that_was_made_again_although_the_answer_got_lost_is_kept():
    """It carries our incarnation."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(3)
    server.lease = None
    server.loses_answers = True
    lease.seen(None)
    await asyncio.sleep(1)
    server.loses_answers = False
    await asyncio.sleep(100)
    assert not running.done()
    assert server.lease.spec.holder_identity == "a"
    running.cancel()


@virtual_time
async def test_what_a_watch_shows_of_our_own_renewals_costs_nothing():
    """Each renewal comes back as an event; nor is what others hold any business of one that holds nothing."""
    server = Server()
    lease = lease_of(server)
    lease.seen(None)
    await lease.acquire()
    lease.seen(server.lease)
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(9)
    lease.seen(server.lease)
    await asyncio.sleep(0.5)
    assert server.version == 1
    running.cancel()


@virtual_time
async def test_who_wants_a_lease_that_its_holder_lost_by_hand_waits_for_the_holder():
    """That holder makes it again, or falls silent."""
    server = Server()
    holder = lease_of(server, "a", boot_id="boot/2")
    await holder.acquire()
    held = server.lease
    successor = lease_of(server, "b")
    standing_by = asyncio.ensure_future(successor.acquire(waits=lambda _other: True))
    await asyncio.sleep(3)
    server.lease = None
    await asyncio.sleep(10)
    server.store(held)
    assert not standing_by.done()
    await asyncio.sleep(3)
    server.lease = None
    await standing_by
    assert 40 <= elapsed_s() < 45
    assert successor.dead_predecessor == "inc-a"
    assert server.lease.spec.holder_identity == "b"


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


@pytest.mark.parametrize("was_released", [True, False])
@virtual_time
async def test_how_the_former_holder_ended_is_known_although_an_answer_got_lost(was_released):
    """That the Lease names us by then tells nothing of the one before."""
    server = Server()
    first = lease_of(server, "a")
    await first.acquire()
    if was_released:
        await first.release()
    successor = lease_of(server, "b")
    server.loses_answers = True
    acquiring = asyncio.ensure_future(successor.acquire())
    await asyncio.sleep(1)
    server.loses_answers = False
    await acquiring
    assert server.lease.spec.holder_identity == "b"
    assert successor.dead_predecessor == ("" if was_released else "inc-a")


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


@virtual_time
async def test_a_release_that_gets_no_answer_is_given_up_soon(caplog):
    """The process is about to end, and whoever stops it waits: the Lease runs out by itself."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    server.hangs_s = 3600
    await lease.release()
    assert elapsed_s() <= 5
    assert "not released" in caplog.text
    assert lease.remaining_s < 0


@virtual_time
async def test_a_restarted_container_takes_back_the_lease_of_its_pod_at_once():
    """Its process is of another pid namespace, so only the pod's uid tells."""
    server = Server()
    await lease_of(server, "a", boot_id="boot/container1", pod_uid="pod").acquire()
    restarted = lease_of(server, "a", boot_id="boot/container2", pod_uid="pod", incarnation="new")
    await restarted.acquire()
    assert elapsed_s() == 0
    assert restarted.dead_predecessor == "inc-a"
    assert server.lease.metadata.annotations[labels.INCARNATION] == "new"


@virtual_time
async def test_a_pid_of_another_pod_is_not_looked_up():
    """Pid namespaces of two pods of one machine may have the same number; a dead pid there proves nothing."""
    server = Server()
    await lease_of(server, "a", pid=5, pod_uid="pod-1").acquire()
    await lease_of(server, "b", pod_uid="pod-2").acquire()
    assert elapsed_s() >= 40


@virtual_time
async def test_a_duplicate_in_another_pod_is_refused_when_the_first_renews():
    """Two Deployments that set the same shard id, say."""
    server = Server()
    holder = lease_of(server, "a", pod_uid="pod-1", incarnation="one")
    await holder.acquire()
    renewing = asyncio.ensure_future(holder.run())
    with pytest.raises(LeaseHeld, match="held by 'a' on host host-a"):
        await lease_of(server, "a", pod_uid="pod-2", incarnation="two").acquire()
    renewing.cancel()


@virtual_time
async def test_who_stands_by_takes_over_when_the_lease_is_released():
    """However long its holder lived; whoever holds it is shown."""
    server = Server()
    holder = lease_of(server, "a", boot_id="boot/2")
    await holder.acquire()
    renewing = asyncio.ensure_future(holder.run())
    seen = set()
    successor = lease_of(server, "b")
    standing_by = asyncio.ensure_future(successor.acquire(waits=lambda other: not seen.add(other.shard)))
    await asyncio.sleep(300)
    assert not standing_by.done()
    renewing.cancel()
    await holder.release()
    released_s = elapsed_s()
    await standing_by
    assert elapsed_s() - released_s <= 2
    assert (successor.dead_predecessor, seen) == ("", {"a"})


@pytest.mark.parametrize("boot_id", ["boot/2", "boot/1"])
@virtual_time
async def test_who_stands_by_takes_over_when_the_holder_falls_silent(boot_id):
    """Also from a frozen process of this machine, and also after it was seen to renew."""
    server = Server()
    holder = lease_of(server, "a", boot_id=boot_id, pid=5)
    await holder.acquire()
    renewing = asyncio.ensure_future(holder.run())
    successor = lease_of(server, "b", alive={5})
    standing_by = asyncio.ensure_future(successor.acquire(waits=lambda _other: True))
    await asyncio.sleep(100)
    assert not standing_by.done()
    renewing.cancel()
    silent_since_s = elapsed_s()
    await standing_by
    assert 30 <= elapsed_s() - silent_since_s <= 45
    assert successor.dead_predecessor == "inc-a"
    with pytest.raises(LeaseLost, match="taken by 'b'"):
        await holder.run()


@virtual_time
async def test_who_stands_by_counts_the_silence_of_each_holder_anew():
    """That the one before was silent says nothing about the next."""
    server = Server()
    await lease_of(server, "a", boot_id="boot/2").acquire()
    standing_by = asyncio.ensure_future(lease_of(server, "c").acquire(waits=lambda _other: True))
    await asyncio.sleep(39)
    server.lease = None
    await lease_of(server, "b", boot_id="boot/3").acquire()
    await standing_by
    assert elapsed_s() >= 79


@virtual_time
async def test_an_annotation_is_written_at_once_and_stays():
    """For example that the replica is draining: nobody should wait for the next renewal to know."""
    server = Server()
    lease = lease_of(server)
    await lease.acquire()
    running = asyncio.ensure_future(lease.run())
    await asyncio.sleep(3)
    lease.annotate({labels.DRAINING: "true"})
    await asyncio.sleep(0.1)
    assert server.lease.metadata.annotations[labels.DRAINING] == "true"
    await asyncio.sleep(60)
    assert server.lease.metadata.annotations[labels.DRAINING] == "true"
    running.cancel()


@virtual_time
async def test_what_the_former_holder_said_of_itself_does_not_survive_it():
    """What others wrote into the Lease does."""
    server = Server()
    first = lease_of(server, "a", pid=5, pod_uid="pod", build="b1")
    await first.acquire()
    first.annotate({labels.DRAINING: "true"})
    running = asyncio.ensure_future(first.run())
    await asyncio.sleep(1)
    running.cancel()
    notes = {**server.lease.metadata.annotations, "example.com/note": "kept"}
    server.store(
        msgspec.structs.replace(
            server.lease, metadata=msgspec.structs.replace(server.lease.metadata, annotations=notes)
        )
    )
    await first.release()
    await lease_of(server, "b").acquire()
    assert server.lease.metadata.annotations == {
        labels.INCARNATION: "inc-b",
        labels.HOST: "host-b",
        labels.BOOT_ID: "boot/1",
        labels.PID: "1",
        labels.PROCESS_STARTED: "7",
        "example.com/note": "kept",
    }


@virtual_time
async def test_a_lease_that_was_never_taken_cannot_be_kept():
    """A mistake of the caller, said at once."""
    with pytest.raises(LeaseLost, match="not held"):
        await lease_of(Server()).run()


@virtual_time
async def test_who_is_slower_than_another_taker_or_than_the_holder_itself_does_not_get_it():
    """What it saw is not what is stored."""
    server = Server()
    first = lease_of(server, "a")
    await first.acquire()
    seen = server.lease
    edit(server, lease_transitions=1)
    second = lease_of(server, "b")
    assert not await second.take(seen)
    assert not await second.take(None)
    assert await second.take(server.lease)
    assert (second.remaining_s, server.lease.spec.holder_identity) == (35, "b")


@virtual_time
async def test_a_lease_that_was_lost_can_be_taken_again():
    """Leadership comes and goes, while the replica lives on."""
    server = Server()
    first = lease_of(server, "a")
    await first.acquire()
    edit(server, holder_identity="")
    with pytest.raises(LeaseLost):
        await first.run()
    assert first.remaining_s < 0
    assert await first.take(server.lease)
    assert first.remaining_s == 35
