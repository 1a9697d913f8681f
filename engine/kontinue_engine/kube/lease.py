"""Internal. Holds one ``coordination.k8s.io/v1`` Lease: acquire it, keep it, give it back.

Whether it may be taken is decided in ``kontinue_engine.kube.lease_decision``; here is the I/O. The worker acquires the
group's leader Lease before it starts anything else and runs ``run`` beside everything; when that raises ``LeaseLost``
the worker must stop writing. Give it a transport of its own: renewals must not queue behind other writes.
All timing is on the clock's monotonic time; a holder's validity counts from when the renewal was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, assert_never

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.errors import EngineError, StartupError
from kontinue_engine.kube import lease_decision
from kontinue_engine.kube.process_identity import LeaseIdentity, process_start
from kontinue_engine.telemetry.logs import get_logger

DURATION_S: Final = 40
RENEW_S: Final = 10.0
"""Reference: sharding, default lease configuration."""
MIN_RENEW_S: Final = 0.5
"""Each renewal is a write. Judgement."""
MARGIN_S: Final = 5.0
"""Stop this long before others may take over: a status write takes less. Judgement."""
POLL_S: Final = 2.0
"""How often a foreign Lease is looked at while waiting. Judgement."""

_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(Lease).decode


class LeaseHeld(StartupError):  # noqa: N818 - a state of the world, not our error
    """Somebody else holds the Lease and lives.

    Attributes:
        lease: name of the Lease.
        holder: who holds it.
    """

    def __init__(self, lease: Lease) -> None:
        holder = lease_decision.holder_of(lease)
        renewed = lease.spec.renew_time.isoformat(timespec="seconds") if lease.spec.renew_time else "never"
        where = f" on host {holder.host}, pid {holder.pid}" if holder.host else ""
        super().__init__(
            f"Lease {lease.metadata.namespace}/{lease.metadata.name} is held by {holder.shard!r}{where}, "
            f"renewed last at {renewed}. Stop that worker first, or start this one in another worker group "
            f"or namespace; a holder that died is replaced after {lease.spec.lease_duration_seconds} s at the latest."
        )
        self.lease = lease.metadata.name
        self.holder = holder


class LeaseLost(EngineError):  # noqa: N818
    """The Lease is no longer ours, or could not be renewed in time: stop writing."""


def check_times(*, duration_s: int, renew_s: float) -> None:
    """Check that two renewals fit in the time until we must stop writing, and that there is a pause between them.

    Raises:
        ValueError: the Lease could not be kept so.
    """
    longest_s = (duration_s - MARGIN_S) / 2
    if not MIN_RENEW_S <= renew_s <= longest_s:
        raise ValueError(
            f"a Lease of {duration_s} s cannot be kept by a renewal every {renew_s:g} s: it must be at least "
            f"{MIN_RENEW_S:g} s and at most {longest_s:g} s, half of the duration less {MARGIN_S:g} s, "
            "because one lost renewal must not cost the Lease"
        )


class LeaderLease:
    """One Lease, wanted or held by this process.

    Args:
        transport: should be of its own, so that renewals never wait for other requests.
        namespace: of the Lease.
        name: of the Lease.
        identity: who we are.
        clock: wall time for people, monotonic time for validity.
        duration_s: how long it stays valid without renewal.
        renew_s: time between renewals.
        process_start: tells when a process of this machine started, None for a dead one.

    Raises:
        ValueError: it could not be kept with these times.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        identity: LeaseIdentity,
        *,
        clock: Clock,
        duration_s: int = DURATION_S,
        renew_s: float = RENEW_S,
        process_start: Callable[[int], str | None] = process_start,
    ) -> None:
        check_times(duration_s=duration_s, renew_s=renew_s)
        self.previous_released = False
        """Whether the holder before us gave it back, or there was none; False after a crash. Set by ``acquire``."""
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._me = identity
        self._clock = clock
        self._duration_s = duration_s
        self._renew_s = renew_s
        self._process_start = process_start
        self._held: Lease | None = None
        self._valid_from_s = 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until we must have stopped writing; negative when it is too late or nothing is held."""
        if self._held is None:
            return -1.0
        return self._valid_from_s + self._duration_s - MARGIN_S - self._clock.monotonic_s()

    async def acquire(self) -> None:
        """Take the Lease if it is free, expired, given back, or held by a dead process of this machine.

        A holder on another machine is watched for one duration of its Lease at most. Waits as long as the API server
        is away.

        Raises:
            LeaseHeld: its holder lives.
            ApiError: the server refuses, for example for lack of permission.
        """
        first: Lease | None = None
        seen: Lease | None = None
        seen_since_s = 0.0
        while True:
            lease = await self._fetch()
            now_s = self._clock.monotonic_s()
            if lease is not None and (
                seen is None or lease.metadata.resource_version != seen.metadata.resource_version
            ):
                if seen is None or not _same_holder(seen, lease):
                    first = lease
                seen, seen_since_s = lease, now_s
            decision = lease_decision.decide(
                lease,
                self._me,
                holder_lives=self._holder_lives(lease),
                unchanged_for_s=now_s - seen_since_s,
                changed=lease is not None and lease != first,
            )
            match decision:
                case lease_decision.Take(released=released):
                    if await self._take(lease):
                        self.previous_released = released
                        return
                case lease_decision.Wait(for_s=for_s):
                    await asyncio.sleep(min(for_s, POLL_S))
                case lease_decision.Refuse():
                    assert lease is not None  # noqa: S101 - for the type checker: no Lease is never refused
                    raise LeaseHeld(lease)
                case _:
                    assert_never(decision)

    async def run(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: somebody else has it, or no renewal succeeded within the duration.
        """
        backoff = Backoff()
        delay_s = self._renew_s
        while True:
            await asyncio.sleep(max(0.0, min(delay_s, self.remaining_s)))
            try:
                await self._renew()
                backoff.reset()
                delay_s = self._renew_s
            except errors.ApiError as error:
                _log.warning("lease not renewed", lease=self._name, error=str(error))
                delay_s = backoff.next_s(at_least_s=error.retry_after_s)
                if self.remaining_s <= 0:
                    raise LeaseLost(f"Lease {self._name} was not renewed for {self._duration_s} s: {error}") from error

    async def release(self) -> None:
        """Give the Lease back, so that the next holder need not wait. Call it last; errors are logged, not raised."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            lease = await self._fetch(retries=False)
            if lease is not None and lease_decision.is_mine(lease, self._me):
                free = msgspec.structs.replace(lease.spec, holder_identity="", renew_time=self._micro_time())
                await self._replace(msgspec.structs.replace(lease, spec=free))
        except errors.ApiError as error:
            _log.warning("lease not released", lease=self._name, error=str(error))

    def _holder_lives(self, lease: Lease | None) -> bool | None:
        if lease is None or not lease_decision.can_see(lease, self._me):
            return None
        holder = lease_decision.holder_of(lease)
        return self._process_start(holder.pid) == holder.process_started

    async def _fetch(self, *, retries: bool = True) -> Lease | None:
        try:
            body = await self._transport.send(
                requests.get(requests.LEASES, self._namespace, self._name), retries=retries, timeout_s=self._renew_s
            )
        except errors.NotFound:
            return None
        return _decode(body)

    async def _take(self, lease: Lease | None) -> bool:
        """Write ourselves in; False when somebody was faster, or faster to renew."""
        now = self._micro_time()
        transitions = lease.spec.lease_transitions + 1 if lease is not None else 0
        spec = LeaseSpec(
            holder_identity=self._me.shard,
            lease_duration_seconds=self._duration_s,
            acquire_time=now,
            renew_time=now,
            lease_transitions=transitions,
        )
        notes = {
            labels.INCARNATION: self._me.incarnation,
            labels.HOST: self._me.host,
            labels.BOOT_ID: self._me.boot_id,
            labels.PID: str(self._me.pid),
            labels.PROCESS_STARTED: self._me.process_started,
        }
        sent_s = self._clock.monotonic_s()
        try:
            if lease is None:
                metadata = ObjectMeta(name=self._name, namespace=self._namespace, annotations=notes)
                request = requests.create(requests.LEASES, self._namespace, Lease(metadata=metadata, spec=spec))
                self._held = _decode(await self._transport.send(request, retries=False))
            else:
                notes = {**lease.metadata.annotations, **notes}
                metadata = msgspec.structs.replace(lease.metadata, annotations=notes)
                self._held = await self._replace(msgspec.structs.replace(lease, metadata=metadata, spec=spec))
        except (errors.Conflict, errors.AlreadyExists):
            return False
        except errors.Unavailable as error:
            # Whether it was written shows when the Lease is read again: then it carries our incarnation.
            _log.warning("lease not taken yet", lease=self._name, error=str(error))
            await asyncio.sleep(POLL_S)
            return False
        self._valid_from_s = sent_s
        return True

    async def _renew(self) -> None:
        if self._held is None:
            raise LeaseLost(f"Lease {self._name} is not held")
        sent_s = self._clock.monotonic_s()
        spec = msgspec.structs.replace(self._held.spec, renew_time=self._micro_time())
        try:
            self._held = await self._replace(msgspec.structs.replace(self._held, spec=spec))
        except (errors.Conflict, errors.NotFound):
            # Somebody annotated it, or our last answer got lost: still ours. Otherwise it is somebody else's.
            lease = await self._fetch(retries=False)
            if lease is None:
                raise LeaseLost(f"Lease {self._name} was deleted while held") from None
            if not lease_decision.is_mine(lease, self._me):
                holder = lease_decision.holder_of(lease)
                raise LeaseLost(f"Lease {self._name} was taken by {holder.shard!r} on host {holder.host!r}") from None
            spec = msgspec.structs.replace(lease.spec, renew_time=self._micro_time())
            self._held = await self._replace(msgspec.structs.replace(lease, spec=spec))
        self._valid_from_s = sent_s

    async def _replace(self, lease: Lease) -> Lease:
        request = requests.replace(requests.LEASES, self._namespace, self._name, lease)
        # One try, shorter than the time left: a renewal that hangs must not hide that the Lease ran out.
        limit_s = self._renew_s if self._held is None else max(1.0, min(self._renew_s, self.remaining_s))
        return _decode(await self._transport.send(request, retries=False, timeout_s=limit_s))

    def _micro_time(self) -> datetime:
        # kube-apiserver's MicroTime wants six digits, which msgspec leaves out for a whole second.
        now = self._clock.now()
        return now if now.microsecond else now.replace(microsecond=1)


def _same_holder(one: Lease, other: Lease) -> bool:
    return lease_decision.holder_of(one) == lease_decision.holder_of(other)
