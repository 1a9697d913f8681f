"""Internal. Holds one ``coordination.k8s.io/v1`` Lease: take it, keep it, give it back.

Whether it may be taken is decided in ``kontinue_engine.sharding.taking``, what its holder may do in
``kontinue_engine.sharding.tenure``; here is the I/O. ``worker`` holds a shard's Lease or that of leadership.
``run`` renews beside everything: it says when writing must stop because no renewal came through, and when it may go on;
when somebody else has the Lease it raises ``LeaseLost``. Give it a transport of its own: renewals must not queue behind
other writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, assert_never

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta, ObjectReference
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.errors import EngineError, StartupError
from kontinue_engine.kube.process_identity import process_start
from kontinue_engine.kube.waiting import until_set
from kontinue_engine.sharding import leases, taking
from kontinue_engine.sharding.lease_book import LeaseBook, Sighting
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.sharding.tenure import Standing, Tenure
from kontinue_engine.telemetry.logs import get_logger

POLL_S: Final = 2.0
"""How often a foreign Lease is looked at while waiting. Judgement."""
RELEASE_TRIES: Final = 3
"""A renewal that was canceled may still be carried out, and somebody may edit the Lease: each costs a try."""
RELEASE_S: Final = 3.0
"""How long a release may take: who stops a process waits, and a Lease that is not given back runs out. Judgement."""
FENCE_POLL_S: Final = 0.1
"""How often who waits to write looks whether it may. Judgement: an outage that led there took half a minute."""
LOOK_S: Final = 1.0
"""How often a holder looks at the clock: after its machine has slept, timers are late. Less than the margin."""

_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(Lease).decode


class LeaseHeld(StartupError):  # noqa: N818 - a state of the world, not our error
    """Somebody else holds the Lease and lives.

    Attributes:
        lease: name of the Lease.
        holder: who holds it.
    """

    def __init__(self, lease: Lease) -> None:
        holder = leases.holder_of(lease)
        renewed = lease.spec.renew_time.isoformat(timespec="seconds") if lease.spec.renew_time else "never"
        where = f" on host {holder.host}, pid {holder.pid}" if holder.host else ""
        super().__init__(
            f"Lease {lease.metadata.namespace}/{lease.metadata.name} is held by {holder.shard!r}{where}, "
            f"renewed last at {renewed}. Stop that worker first, or give this one another id (--shard), "
            "worker group or namespace; a holder that died is replaced after "
            f"{lease.spec.lease_duration_seconds} s at the latest."
        )
        self.lease = lease.metadata.name
        self.holder = holder


class LeaseLost(EngineError):  # noqa: N818
    """The Lease is no longer ours, or could not be renewed in time: stop writing."""


class HeldLease:
    """One Lease, wanted or held by this process.

    Args:
        transport: should be of its own, so that renewals never wait for other requests.
        namespace: of the Lease.
        name: of the Lease.
        identity: who we are.
        group: worker group: becomes a label.
        label: which label that is; what has no worker group has another one, lest it be taken for one.
        clock: wall time for people, monotonic time for validity.
        times: how long it lasts, and how often it is renewed.
        notes: annotations that it has while we hold it.
        process_start: tells when a process of this machine started, None for a dead one.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        identity: ReplicaIdentity,
        *,
        group: str,
        clock: Clock,
        times: LeaseTimes,
        label: str = labels.WORKER_GROUP,
        notes: Mapping[str, str] | None = None,
        process_start: Callable[[int], str | None] = process_start,
    ) -> None:
        self.dead_predecessor = ""
        """Incarnation before us that did not give it back; empty if it did, or there was none. Set by ``acquire``."""
        self.name = name
        self._transport = transport
        self._namespace = namespace
        self._me = identity
        self._group = group
        self._label = label
        self._clock = clock
        self._times = times
        self._process_start = process_start
        self._notes = dict(notes or {})
        self._held: Lease | None = None
        self._tenure = Tenure(times)
        self._renew_now = asyncio.Event()

    @property
    def holder(self) -> ReplicaIdentity:
        """Who we are, as it stands in the Lease while we hold it."""
        return self._me

    @property
    def reference(self) -> ObjectReference:
        """What an Event about the Lease names; without a uid before it was held."""
        meta = self._held.metadata if self._held is not None else ObjectMeta()
        return ObjectReference(
            api_version=requests.LEASES.api_version,
            kind=requests.LEASES.kind,
            namespace=self._namespace,
            name=self.name,
            uid=meta.uid,
        )

    @property
    def remaining_s(self) -> float:
        """Seconds until we must have stopped writing; negative when it is too late or nothing is held."""
        return self._tenure.remaining_s(self._clock.monotonic_s())

    @property
    def standing(self) -> Standing:
        """What its holder may do now."""
        return self._tenure.standing(self._clock.monotonic_s())

    async def until_valid(self) -> None:
        """Return once its holder may write: at once, unless it is fenced; never again, if the Lease is lost or gone."""
        while self.remaining_s <= 0:  # noqa: ASYNC110 - it changes with time, and by a renewal
            await asyncio.sleep(FENCE_POLL_S)

    async def acquire(self, *, waits: Callable[[ReplicaIdentity], bool] = lambda _holder: False) -> None:
        """Take the Lease if it is free, expired, given back, or held by a dead process of this machine or pod.

        A holder on another machine is watched for one duration of its Lease at most. Waits as long as the API server
        is away.

        Args:
            waits: tells of a holder that lives whether to wait for it.

        Raises:
            LeaseHeld: its holder lives, and we do not wait for it.
            ApiError: the server refuses, for example for lack of permission.
        """
        book = LeaseBook(self._group)
        first: Sighting | None = None
        while True:
            lease = await self._fetch()
            now_s = self._clock.monotonic_s()
            if lease is None:
                book.forget(self.name)
            else:
                book.observe(lease, now_s)
            seen = book.get(self.name)  # also one that was deleted while somebody held it
            if first is None or seen is None or not _same_holder(first.lease, seen.lease):
                first = seen
            silent_for_s = now_s - seen.changed_at_s if seen is not None else 0.0
            changed = seen is not None and first is not None and seen.changed_at_s != first.changed_at_s
            wanted = seen.lease if seen is not None else None
            decision = self.judge(wanted, silent_for_s=silent_for_s, changed=changed)
            match decision:
                case taking.Take(released=released):
                    # If it names us already, an answer to us got lost: what stood there before is known since.
                    if wanted is None or not leases.is_held_by(wanted, self._me):
                        gone = wanted if wanted is not None and not released else None
                        self.dead_predecessor = leases.holder_of(gone).incarnation if gone is not None else ""
                    if await self.take(lease):
                        return
                case taking.Wait(for_s=for_s):
                    await asyncio.sleep(min(for_s, POLL_S))
                case taking.Refuse():
                    assert wanted is not None  # noqa: S101 - for the type checker: no Lease is never refused
                    if not waits(leases.holder_of(wanted)):
                        raise LeaseHeld(wanted)
                    await asyncio.sleep(POLL_S)
                case _:
                    assert_never(decision)

    def judge(self, lease: Lease | None, *, silent_for_s: float, changed: bool = False) -> taking.Decision:
        """Return whether we may take the Lease as it was seen; see ``taking.decide``."""
        holder_lives = None
        if lease is not None and taking.can_see(lease, self._me):
            holder = leases.holder_of(lease)
            holder_lives = self._process_start(holder.pid) == holder.process_started
        return taking.decide(lease, self._me, holder_lives=holder_lives, silent_for_s=silent_for_s, changed=changed)

    async def take(self, lease: Lease | None) -> bool:
        """Write ourselves into the Lease as it was seen; False when somebody was faster, or faster to renew.

        Raises:
            ApiError: the server refuses.
        """
        now = self._micro_time()
        spec = LeaseSpec(
            holder_identity=self._me.shard,
            lease_duration_seconds=self._times.duration_s,
            acquire_time=now,
            renew_time=now,
            lease_transitions=lease.spec.lease_transitions + 1 if lease is not None else 0,
        )
        sent_s = self._clock.monotonic_s()
        try:
            if lease is None:
                self._held = await self._create(Lease(metadata=ObjectMeta(), spec=spec))
            else:
                self._held = await self._replace(self._written(lease, spec))
        except (errors.Conflict, errors.AlreadyExists):
            return False
        except errors.Unavailable as error:
            # Whether it was written shows when the Lease is read again: then it carries our incarnation.
            _log.warning("lease not taken yet", lease=self.name, error=str(error))
            await asyncio.sleep(POLL_S)
            return False
        self._tenure = Tenure(self._times)
        self._tenure.confirmed(sent_s)
        return True

    async def run(
        self, *, on_fence: Callable[[], None] = lambda: None, on_resume: Callable[[], None] = lambda: None
    ) -> None:
        """Renew until cancelled.

        Args:
            on_fence: called when the Lease may soon be somebody else's: stop everything that has effects.
            on_resume: called when a renewal has succeeded after that: nobody has taken it meanwhile.

        Raises:
            LeaseLost: somebody else has it, or may have: it is gone.
        """
        fence = _Fence(self, on_fence, self._renew_now.set)
        fence.look()
        backoff = Backoff()
        delay_s = self._times.renew_s
        try:
            while True:
                await until_set(self._renew_now, delay_s)
                self._renew_now.clear()
                try:
                    await self._renew()
                except errors.ApiError as error:
                    _log.warning("lease not renewed", lease=self.name, error=str(error))
                    delay_s = backoff.next_s(at_least_s=error.retry_after_s)
                    continue
                backoff.reset()
                delay_s = self._times.renew_s
                if fence.is_up and self.remaining_s > 0:
                    fence.is_up = False
                    _log.warning("the Lease is renewed, and nobody has taken it: going on", lease=self.name)
                    on_resume()
        finally:
            fence.stop()

    def annotate(self, notes: Mapping[str, str]) -> None:
        """Write these annotations with the next renewal, which ``run`` makes at once."""
        self._notes.update(notes)
        self._renew_now.set()

    def seen(self, lease: Lease | None) -> None:
        """Take what a watch shows of the Lease, None if it was deleted: renew it at once if that is not ours."""
        if self.standing in _HOLDING and (lease is None or not leases.is_held_by(lease, self._me)):
            self._renew_now.set()

    async def release(self) -> None:
        """Give the Lease back, so that the next holder need not wait. Call it last.

        Takes ``RELEASE_S`` at most; errors are logged, not raised.
        """
        held, self._held = self._held, None
        self._tenure.ended()
        if held is None:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._give_back()
        except (errors.ApiError, TimeoutError) as error:
            _log.warning("lease not released", lease=self.name, error=str(error) or f"no answer within {RELEASE_S:g} s")

    async def _give_back(self) -> None:
        for tries_left in reversed(range(RELEASE_TRIES)):
            lease = await self._fetch(retries=False, timeout_s=RELEASE_S)
            if lease is None or not leases.is_held_by(lease, self._me):
                return
            free = msgspec.structs.replace(lease.spec, holder_identity="", renew_time=self._micro_time())
            try:
                await self._replace(msgspec.structs.replace(lease, spec=free), timeout_s=RELEASE_S)
                return
            except errors.Conflict:
                if not tries_left:
                    raise

    async def _fetch(self, *, retries: bool = True, timeout_s: float | None = None) -> Lease | None:
        try:
            body = await self._transport.send(
                requests.get(requests.LEASES, self._namespace, self.name),
                retries=retries,
                timeout_s=timeout_s or self._times.renew_s,
            )
        except errors.NotFound:
            return None
        return _decode(body)

    async def _renew(self) -> None:
        if self._held is None:
            raise LeaseLost(f"Lease {self.name} is not held")
        sent_s = self._clock.monotonic_s()
        try:
            self._held = await self._replace(self._renewed(self._held))
        except (errors.Conflict, errors.NotFound):
            self._held = await self._recover(self._held)
        self._tenure.confirmed(sent_s)

    async def _recover(self, held: Lease) -> Lease:
        """Renew a Lease that is not as we left it: edited by somebody, or by a write of ours whose answer got lost.

        One that was deleted is made again, for as long as nobody may have taken it, worked and gone again.
        """
        lease = await self._fetch(retries=False)
        if lease is None and self.remaining_s > 0:
            _log.warning("the Lease was deleted while held: making it again", lease=self.name)
            with suppress(errors.AlreadyExists):
                return await self._create(self._renewed(held))
            lease = await self._fetch(retries=False)
        if lease is None or not leases.is_held_by(lease, self._me):
            self._tenure.refused()
            raise LeaseLost(_lost_message(self.name, lease))
        return await self._replace(self._renewed(lease))

    def _renewed(self, lease: Lease) -> Lease:
        return self._written(lease, msgspec.structs.replace(lease.spec, renew_time=self._micro_time()))

    def _written(self, lease: Lease, spec: LeaseSpec) -> Lease:
        metadata = msgspec.structs.replace(
            lease.metadata,
            labels={**lease.metadata.labels, self._label: self._group},
            annotations=self._annotations(lease.metadata.annotations),
        )
        return msgspec.structs.replace(lease, metadata=metadata, spec=spec)

    def _annotations(self, found: Mapping[str, str]) -> dict[str, str]:
        me = self._me
        kept = {key: value for key, value in found.items() if key not in _OF_A_HOLDER}
        ours = {
            labels.INCARNATION: me.incarnation,
            labels.HOST: me.host,
            labels.BOOT_ID: me.boot_id,
            labels.PID: str(me.pid),
            labels.PROCESS_STARTED: me.process_started,
            labels.POD_UID: me.pod_uid,
            labels.BUILD: me.build,
        }
        return {**kept, **{key: value for key, value in ours.items() if value}, **self._notes}

    async def _create(self, lease: Lease) -> Lease:
        metadata = ObjectMeta(
            name=self.name,
            namespace=self._namespace,
            labels={**lease.metadata.labels, self._label: self._group},
            annotations=self._annotations(lease.metadata.annotations),
        )
        return await self._write(
            requests.create(requests.LEASES, self._namespace, Lease(metadata=metadata, spec=lease.spec)),
            self._renewal_limit_s,
        )

    async def _replace(self, lease: Lease, *, timeout_s: float | None = None) -> Lease:
        return await self._write(
            requests.replace(requests.LEASES, self._namespace, self.name, lease), timeout_s or self._renewal_limit_s
        )

    @property
    def _renewal_limit_s(self) -> float:
        """Shorter than the time left: a renewal that hangs must not hide that the Lease ran out."""
        left_s, limit_s = self.remaining_s, self._times.renew_s
        return max(1.0, min(limit_s, left_s)) if left_s > 0 else limit_s

    async def _write(self, request: Request, timeout_s: float) -> Lease:
        return _decode(await self._transport.send(request, retries=False, timeout_s=timeout_s))

    def _micro_time(self) -> datetime:
        return leases.micro_time(self._clock.now())


class _Fence:
    """Goes up when a Lease has run out, whatever its renewal waits for at that moment.

    Args:
        lease: held.
        on_fence: called when it goes up.
        renew: asks for a renewal at once.
    """

    def __init__(self, lease: HeldLease, on_fence: Callable[[], None], renew: Callable[[], None]) -> None:
        self.is_up = False
        self._lease = lease
        self._on_fence = on_fence
        self._renew = renew
        self._next_look: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Look at the clock, now and again and again."""
        left_s = self._lease.remaining_s
        if left_s <= 0 and not self.is_up:
            self.is_up = True
            _log.error("fenced: the Lease could not be renewed in time", lease=self._lease.name)
            self._on_fence()
            self._renew()
        delay_s = LOOK_S if left_s <= 0 else min(LOOK_S, left_s)
        self._next_look = asyncio.get_running_loop().call_later(delay_s, self.look)

    def stop(self) -> None:
        """Look no more."""
        if self._next_look is not None:
            self._next_look.cancel()


_HOLDING: Final = frozenset({Standing.WRITING, Standing.FENCED})
_OF_A_HOLDER: Final = frozenset(
    {
        labels.INCARNATION,
        labels.HOST,
        labels.BOOT_ID,
        labels.PID,
        labels.PROCESS_STARTED,
        labels.POD_UID,
        labels.BUILD,
        labels.DRAINING,
        labels.EXPIRED_BY,
        labels.LOOKS_AFTER,
    }
)
"""Annotations that end with a tenure."""


def _same_holder(one: Lease, other: Lease) -> bool:
    return leases.holder_of(one) == leases.holder_of(other)


def _lost_message(name: str, lease: Lease | None) -> str:
    if lease is None:
        return f"Lease {name} was deleted while held"
    holder = leases.holder_of(lease)
    if not holder.shard:
        return f"Lease {lease.metadata.name} was taken away: it had not been renewed in time"
    return f"Lease {lease.metadata.name} was taken by {holder.shard!r} on host {holder.host!r}"
