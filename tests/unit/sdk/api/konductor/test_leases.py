"""How a Lease says who holds it, and what its holder may change of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from kontinue.api.konductor import locking
from kontinue.api.konductor.leases import (
    LEASES,
    Lease,
    LeasePhase,
    LeaseRequest,
    LeaseRequestPhase,
    LeaseRequestSpec,
    LeaseRequestStatus,
    LeaseSpec,
    LeaseStatus,
    granted_to,
)
from kontinue.api.meta import ObjectMeta, OwnerReference

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FREE = Lease(metadata=ObjectMeta(name="db", uid="u"), spec=LeaseSpec(ttl="1m"), status=LeaseStatus(token=6, waiting=2))


def request(*, ttl: str = "", owner: str = "") -> LeaseRequest:
    owners = [OwnerReference(api_version="konductor.io/v1", kind="Lease", name="db", uid=owner)] if owner else []
    meta = ObjectMeta(name="db-me", uid="r", owner_references=owners)
    return LeaseRequest(metadata=meta, spec=LeaseRequestSpec(lease="db", holder="me", ttl=ttl))


def held(ttl: str = "") -> Lease:
    return msgspec.structs.replace(FREE, status=granted_to(FREE, request(ttl=ttl), now=NOW))


def test_a_grant_says_who_has_it_until_when_and_by_which_token():
    """By the request's own ttl, or the Lease's; nobody else's wait is forgotten."""
    status = held().status
    assert (status.holder, status.request, status.request_uid, status.token) == ("me", "db-me", "r", 7)
    assert (status.phase, status.acquired_at, status.ttl, status.waiting) == (LeasePhase.HELD, NOW, "1m", 2)
    assert status.expires_at == NOW + timedelta(minutes=1)
    assert held("2m").status.expires_at == NOW + timedelta(minutes=2)
    endless = msgspec.structs.replace(FREE, spec=LeaseSpec())
    assert granted_to(endless, request(), now=NOW).expires_at is None


def test_it_is_one_lock_by_the_uid_of_its_request():
    """What is not held is none; the token stays."""
    (grant,) = LEASES.locks_of(held()).grants
    assert (grant.id, grant.holder, grant.token, grant.ttl) == ("r", "me", 7, timedelta(minutes=1))
    assert LEASES.locks_of(FREE) == locking.Locks(token=6)


def test_renewals_are_counted():
    """Only what changes something is one."""
    lease = held()
    locks = LEASES.locks_of(lease)
    for number in (1, 2):
        locks = locking.renewed(locks, "r", now=NOW + timedelta(seconds=number))
        lease = LEASES.with_locks(lease, locks)
        assert lease.status.renew_count == number
        assert lease.status.expires_at == NOW + timedelta(minutes=1, seconds=number)
        assert LEASES.with_locks(lease, locks) == lease
    assert not lease.is_available


def test_who_releases_it_leaves_the_token_and_those_that_wait():
    """The next grant has a higher one."""
    lease = held()
    free = LEASES.with_locks(lease, locking.left(LEASES.locks_of(lease), "r"))
    assert free.status == LeaseStatus(phase=LeasePhase.AVAILABLE, token=7, waiting=2)
    assert free.is_available


def test_a_request_belongs_to_the_lease_that_it_was_made_for():
    """Not to a later one of the same name; one without an owner, made by hand, belongs to whichever there is."""
    assert request(owner="u").belongs_to(FREE)
    assert request().belongs_to(FREE)
    assert not request(owner="other").belongs_to(FREE)
    assert request().parent == "db"


def test_a_request_waits_until_it_is_granted_or_denied():
    """Pending decides nothing; Denied is for good."""

    def in_phase(phase: LeaseRequestPhase | None) -> tuple[bool, bool, bool]:
        one = msgspec.structs.replace(request(), status=LeaseRequestStatus(phase=phase))
        return one.is_decided, one.is_granted, one.is_over

    assert in_phase(None) == in_phase(LeaseRequestPhase.PENDING) == (False, False, False)
    assert in_phase(LeaseRequestPhase.GRANTED) == (True, True, False)
    assert in_phase(LeaseRequestPhase.DENIED) == (True, False, True)
