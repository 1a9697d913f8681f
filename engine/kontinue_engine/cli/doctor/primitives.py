"""Internal. Reads and judges locks, Semaphores, Barriers and their like, for ``kontinue doctor``. Pure.

Some of them do nothing without a coordinator, others only lose what it does about holders that die; and a lock that
has no end is held by the dead for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from kontinue.api.konductor.barriers import Barrier, BarrierPhase
from kontinue.api.konductor.gates import Gate
from kontinue.api.konductor.leases import Lease
from kontinue.api.konductor.locking import LockKind
from kontinue.api.konductor.mutexes import MUTEXES
from kontinue.api.konductor.onces import ONCES
from kontinue.api.konductor.rwmutexes import RWMUTEXES
from kontinue.api.konductor.semaphores import Semaphore
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue_engine.cli.doctor import coordinators
from kontinue_engine.cli.doctor.findings import Finding, ok, warning
from kontinue_engine.cli.doctor.observed import Observed, PrimitiveFacts
from kontinue_engine.cli.text import format_age, plural

SEEN_WITHIN: Final = timedelta(minutes=1)
"""A coordinator that works looks at a new object at once. Judgement."""
LONG: Final = timedelta(hours=1)
"""So long nobody holds a lock without an end who has not forgotten it. Judgement."""

T = TypeVar("T", bound=HasMetadata)


def _of_locks(kind: LockKind[T], *, can_be_unlocked: bool = True) -> Callable[[Resource, msgspec.Raw], PrimitiveFacts]:
    def facts(resource: Resource, raw: msgspec.Raw) -> PrimitiveFacts:
        found = msgspec.json.decode(raw, type=kind.object_type)
        grants = kind.locks_of(found).grants
        bound = next((one for one in grants if one.bound_to is not None), None)
        without_end = (one for one in grants if can_be_unlocked and not (one.bound_to or one.ttl or one.expires_at))
        endless = next(without_end, None)
        needs = "" if bound is None else f"held for {bound.bound_to}; should that end, nobody releases it"
        return _facts(
            resource,
            found.metadata,
            needs=needs,
            holder="" if endless is None else endless.holder,
            held_since=None if endless is None else endless.locked_at,
        )

    return facts


def _of_told(type_: type[Any], needs: str) -> Callable[[Resource, msgspec.Raw], PrimitiveFacts]:
    def facts(resource: Resource, raw: msgspec.Raw) -> PrimitiveFacts:
        found = msgspec.json.decode(raw, type=type_)
        is_over = isinstance(found, Barrier) and found.status.phase in {BarrierPhase.OPEN, BarrierPhase.FAILED}
        return _facts(resource, found.metadata, needs="" if is_over else needs, is_seen=found.status.phase is not None)

    return facts


def _facts(resource: Resource, meta: ObjectMeta, **known: Any) -> PrimitiveFacts:
    return PrimitiveFacts(
        plural=resource.plural,
        noun=resource.kind.lower(),
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp,
        **known,
    )


_READERS: Final = (
    (requests.MUTEXES, _of_locks(MUTEXES)),
    (requests.RW_MUTEXES, _of_locks(RWMUTEXES)),
    (requests.ONCES, _of_locks(ONCES, can_be_unlocked=False)),
    (requests.SEMAPHORES, _of_told(Semaphore, "nobody grants its permits")),
    (requests.BARRIERS, _of_told(Barrier, "nobody counts who arrives")),
    (requests.KONDUCTOR_LEASES, _of_told(Lease, "nobody grants it")),
    (requests.GATES, _of_told(Gate, "nobody looks at its conditions")),
)
KINDS: Final = tuple(resource for resource, _ in _READERS)
"""What is read."""


def primitive_facts(resource: Resource, raw: msgspec.Raw) -> PrimitiveFacts:
    """Return what matters of an object of one of ``KINDS``."""
    return dict(_READERS)[resource](resource, raw)


def check_primitives(seen: Observed) -> Iterator[Finding]:
    """Those that need a coordinator and have none, or none that looks at them; and locks that nobody ends."""
    found = seen.primitives
    working = {one.namespace: coordinators.who_works(seen, one.namespace) for one in found}
    for who, count in Counter(working[one.namespace] for one in found if one.needs and working[one.namespace]).items():
        yield ok("primitives", f"{plural(count, 'object')} that {'needs' if count == 1 else 'need'} one; {who}")
    for one in found:
        about = seen.named(one.namespace, one.name, one.plural)
        if one.needs and not working[one.namespace] and coordinators.may_be_missed(seen):
            yield coordinators.none_works(seen, "primitives", one.needs, namespace=one.namespace, about=about)
        elif not one.is_seen and _older(one.created, seen.now, SEEN_WITHIN):
            age = format_age(one.created, seen.now)
            remedy = f"does one of this version work for namespace {one.namespace}? `koncli operator` names those"
            yield warning("primitives", f"no coordinator has looked at it for {age}", remedy, about=about)
        if one.holder and _older(one.held_since, seen.now, LONG):
            yield _endless(one, seen, about)


def _endless(one: PrimitiveFacts, seen: Observed, about: str) -> Finding:
    age = format_age(one.held_since, seen.now)
    what = f"held by {one.holder} for {age}, without a ttl: should that be gone, it stays so"
    command = (
        f"kontinue {one.noun} unlock {one.name} --holder {one.holder} -n {one.namespace}{seen.server.group_option}"
    )
    return warning("primitives", what, f"{command}, if it is; a ttl, or --holder pod/NAME, ends the next", about=about)


def _older(since: datetime | None, now: datetime, age: timedelta) -> bool:
    return since is not None and now - since > age
