"""What a group's Leases are called, and what they say."""

import re
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding import leases
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity

ME = ReplicaIdentity(shard="a", incarnation="i1")


def lease(holder="", name="l", **notes):
    annotations = {getattr(labels, key.upper()): value for key, value in notes.items()}
    return Lease(metadata=ObjectMeta(name=name, annotations=annotations), spec=LeaseSpec(holder_identity=holder))


def test_the_defaults_are_those_of_the_reference():
    """Renewed every 10 s, valid for 40 s."""
    assert LeaseTimes() == LeaseTimes(duration_s=40, renew_s=10.0)


@pytest.mark.parametrize(
    ("duration_s", "renew_s", "says"),
    [
        (40, 17.5, None),
        (6, 0.5, None),
        (3, 1.0, "a Lease of 3 s is too short: the shortest that can be renewed in time lasts 6 s"),
        (5, 0.5, "a Lease of 5 s is too short: the shortest that can be renewed in time lasts 6 s"),
        (40, 17.6, "a Lease of 40 s cannot be kept by a renewal every 17.6 s: .* at least 0.5 s and at most 17.5 s"),
        (40, 0.4, "at least 0.5 s"),
    ],
)
def test_two_renewals_must_fit_in_the_time_until_the_fence(duration_s, renew_s, says):
    """One lost renewal must not cost the Lease; what cannot work is refused with a reason."""
    if says is None:
        assert LeaseTimes(duration_s=duration_s, renew_s=renew_s).renew_s == renew_s
    else:
        with pytest.raises(ValueError, match=says):
            LeaseTimes(duration_s=duration_s, renew_s=renew_s)


@pytest.mark.parametrize(
    ("shard", "fits"),
    [("w-0", True), ("node.example.com", True), ("a" * 63, True), ("a" * 64, False), ("a/b", False), ("W", False),
     ("-a", False), ("a.", False), ("", False)],
)  # fmt: skip
def test_a_shard_id_becomes_a_label_and_part_of_a_name(shard, fits):
    """What fits neither is refused before the server does."""
    assert leases.is_shard_id(shard) is fits


def test_names_tell_group_and_shard():
    """They are API: kubectl shows them."""
    assert leases.leader_lease_name("g") == "kontinue-leader.g"
    assert leases.shard_lease_name("g", "web-0") == "kontinue-shard.g.web-0"
    assert leases.mutex_lease_name("g", "nightly") == "kontinue-mutex.g.nightly"


@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("kontinue-shard.g.web-0", "web-0"),
        ("kontinue-shard.g.host.example.com", "host.example.com"),
        ("kontinue-shard.other.web-0", None),
        ("kontinue-leader.g", None),
        ("kontinue-mutex.g.web-0", None),
    ],
)
def test_a_shard_lease_is_recognised_by_its_name(name, shard):
    """Leases of leadership, of mutexes and of other groups are none."""
    assert leases.shard_of(lease(name=name), "g") == shard


@pytest.mark.parametrize(
    ("mutex", "key"),
    [
        ("nightly", "nightly"),
        ("a-1", "a-1"),
        ("m" * 52, "m" * 52),
        ("Nightly", "nightly-"),
        ("a/b", "a-b-"),
        ("-a-", "a-"),
        ("m" * 53, "m" * 52 + "-"),
        ("größe", "gr--e-"),
        ("§", ""),
    ],
)
def test_a_mutex_is_named_as_it_is_where_that_fits_and_hashed_elsewhere(mutex, key):
    """People recognise it."""
    found = leases.mutex_key(mutex)
    digest = found.removeprefix(key)
    assert found.startswith(key)
    assert found == mutex or re.fullmatch("[0-9a-f]{10}", digest)


@given(one=st.text(min_size=1), other=st.text(min_size=1))
def test_every_mutex_has_a_name_that_kubernetes_takes_and_shares_it_with_no_other(one, other):
    """As a label value and as the end of a Lease's name; whatever its users have thought of."""
    keys = [leases.mutex_key(one), leases.mutex_key(other)]
    assert (keys[0] == keys[1]) == (one == other)
    for key in keys:
        assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", key)
        assert len(key) <= labels.MAX_LABEL_VALUE_LENGTH
        name = leases.mutex_lease_name("g" * labels.MAX_LABEL_VALUE_LENGTH, key)
        assert len(name) <= 253  # a DNS subdomain


def test_a_holder_is_read_back_as_it_was_written():
    """All of its annotations."""
    written = lease(
        "a",
        incarnation="i1",
        host="h",
        boot_id="b",
        pid="7",
        process_started="100",
        pod_uid="p",
        build="d",
    )
    assert leases.holder_of(written) == ReplicaIdentity(
        shard="a", incarnation="i1", host="h", boot_id="b", pid=7, process_started="100", pod_uid="p", build="d"
    )


@pytest.mark.parametrize("notes", [{}, {"pid": "x"}, {"pid": "-1"}, {"pid": "9" * 4301}])
def test_a_foreign_holder_is_just_a_name(notes):
    """For example one written by kubectl."""
    assert leases.holder_of(lease("somebody", **notes)) == ReplicaIdentity(shard="somebody", incarnation="")


def test_a_lease_is_ours_only_while_it_names_our_incarnation():
    """Not by the shard's name, which our predecessor had too, nor after it was given back."""
    assert leases.is_held_by(lease("a", incarnation="i1"), ME)
    assert not leases.is_held_by(lease("a", incarnation="i0"), ME)
    assert not leases.is_held_by(lease("", incarnation="i1"), ME)


def test_marks_are_read():
    """Of the leader that took it away, and of a holder that is about to stop."""
    assert leases.was_expired(lease(expired_by="i9"))
    assert not leases.was_expired(lease())
    assert leases.is_draining(lease("a", draining="true"))
    assert not leases.is_draining(lease("a"))


@pytest.mark.parametrize(
    ("notes", "retries"), [({}, 0), ({"observed_retries": "2"}, 2), ({"observed_retries": "9" * 4301}, 0)]
)
def test_a_mutex_tells_for_which_run_of_its_holder_it_is(notes, retries):
    """The first one if it tells nothing that can be read."""
    assert leases.retries_of(lease("uid", **notes)) == retries


def test_a_time_in_a_lease_has_six_digits_after_its_second():
    """kube-apiserver reads no other; msgspec writes none for a whole second."""
    whole = datetime(2026, 1, 1, tzinfo=UTC)
    assert msgspec.json.encode(leases.micro_time(whole)) == b'"2026-01-01T00:00:00.000001Z"'
    assert leases.micro_time(whole.replace(microsecond=250_000)) == whole.replace(microsecond=250_000)
