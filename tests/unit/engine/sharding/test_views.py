"""From Executions and Leases to what placement knows, and back."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue.api.v1alpha1 import ExecutionOwner, ExecutionStatus, Phase
from kontinue_engine.sharding import views
from kontinue_engine.sharding.assignment import Orphan
from kontinue_engine.sharding.leases import ReplicaIdentity, mutex_key, was_expired
from kontinue_engine.sharding.limits import Applicant
from kontinue_engine.sharding.mutexes import Contender, Grant
from kontinue_engine.sharding.placement import Move, Newcomer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def execution(*, phase=None, waits_for=(), mutex=None, owners=(), owner=None, **meta):
    """Return an Execution as the API server lists it."""
    body = {
        "metadata": {
            "name": "e",
            "uid": "u",
            "resourceVersion": "7",
            "ownerReferences": [
                {"apiVersion": "x/v1", "kind": kind, "name": "o", "uid": "o", "controller": True} for kind in owners
            ],
            **meta,
        },
        "spec": {"function": "f", "arguments": {"n": 1}} | ({"mutex": {"name": mutex}} if mutex else {}),
    }
    if phase:
        times = [None if seconds is None else NOW + timedelta(seconds=seconds) for seconds in waits_for]
        items = [{"kind": "Timer", "name": "t", "step": "0"} | ({"until": at} if at else {}) for at in times]
        body["status"] = {"phase": phase, "waitingFor": items, "owner": owner}
    return msgspec.json.decode(msgspec.json.encode(body), type=views.PlacedExecution)


def found(one):
    return views.found_of(one, shard="s", lost_by="i1", now_ms=NOW_MS)


def orphan(**changes):
    return Orphan(uid="u", name="e", version="7", shard="s", **changes)


def move(**changes):
    return Move("u", "e", "7", **{"shard": "new", **changes})


@pytest.mark.parametrize("mutex", ["", "m"])
def test_a_newcomer_is_what_the_move_must_find(mutex):
    """Identity, version, and the mutex that decides where it goes."""
    assert views.newcomer_of(execution(mutex=mutex)) == Newcomer(uid="u", name="e", version="7", mutex=mutex)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(execution(), orphan(lost_by="i1"), id="plain"),
        pytest.param(execution(mutex="m"), orphan(lost_by="i1", mutex="m"), id="with a mutex"),
        pytest.param(
            execution(owners=["Execution"]), orphan(lost_by="i1", needs_parent_group=True), id="child in one shard"
        ),
        pytest.param(
            execution(owners=["Execution"], labels={labels.PARENT_GROUP: "g"}),
            orphan(lost_by="i1"),
            id="child that says so",
        ),
        pytest.param(execution(owners=["ScheduledExecution"]), orphan(lost_by="i1"), id="owned by something else"),
        pytest.param(
            execution(annotations={labels.DEATHS: "2"}), orphan(lost_by="i1", deaths=2), id="has lost replicas before"
        ),
        pytest.param(execution(annotations={labels.DEATHS: "many"}), orphan(lost_by="i1"), id="edited by hand"),
        pytest.param(
            execution(annotations={labels.DEATHS: "9" * 4301}), orphan(lost_by="i1"), id="more than Python reads"
        ),
    ],
)
def test_an_orphan_carries_what_its_move_writes(one, expected):
    """So that a move costs one write and no read."""
    assert found(one).orphan == expected


@pytest.mark.parametrize(
    ("phase", "waits_for", "wakes_in_s"),
    [
        pytest.param(None, (), 0, id="new"),
        pytest.param("Pending", (), 0, id="pending"),
        pytest.param("Executing", (30,), 0, id="was running, whatever it waits for"),
        pytest.param("Backoff", (), 0, id="between two attempts"),
        pytest.param("Suspended", (None,), None, id="waits for a child"),
        pytest.param("Suspended", (), None, id="waits for something"),
        pytest.param("Suspended", (90, None, 30), 30, id="wakes by a timer"),
        pytest.param("Suspended", (-5,), 0, id="its timer has fired"),
        pytest.param("Blocked", (), None, id="waits for its user"),
    ],
)
def test_what_an_execution_waits_for_tells_when_it_can_go_on(phase, waits_for, wakes_in_s):
    """What can run is moved first."""
    assert found(execution(phase=phase, waits_for=waits_for)).wakes_in_s == wakes_in_s


@pytest.mark.parametrize(
    ("command", "metadata"),
    [
        pytest.param(move(), {"labels": {labels.SHARD: "new"}}, id="newcomer"),
        pytest.param(
            move(mutex="My mutex"),
            {"labels": {labels.SHARD: "new", labels.MUTEX: mutex_key("My mutex")}},
            id="newcomer with a mutex",
        ),
        pytest.param(
            move(orphan=orphan()),
            {"labels": {labels.SHARD: "new"}, "annotations": {labels.DEATHS: "0"}},
            id="its replica stopped in order",
        ),
        pytest.param(
            move(orphan=orphan(lost_by="i1", deaths=2)),
            {"labels": {labels.SHARD: "new"}, "annotations": {labels.DEATHS: "3"}},
            id="its replica died before it was claimed",
        ),
        pytest.param(
            move(orphan=orphan(lost_by="i1", was_owned=True, deaths=2)),
            {"labels": {labels.SHARD: "new"}, "annotations": {labels.LOST_BY: "i1", labels.DEATHS: "3"}},
            id="its owner died",
        ),
        pytest.param(
            move(orphan=orphan(needs_parent_group=True)),
            {
                "labels": {labels.SHARD: "new", labels.PARENT_GROUP: "g"},
                "annotations": {labels.DEATHS: "0"},
            },
            id="child that leaves its parent",
        ),
    ],
)
def test_a_move_is_one_patch_of_what_was_seen(command, metadata):
    """The server refuses it if anything has changed."""
    assert views.move_patch(command, group="g") == {"metadata": {"resourceVersion": "7", **metadata}}


@pytest.mark.parametrize(
    "next_lost_by", ["i2", ""], ids=["the next replica dies, too", "the next replica stops in order"]
)
def test_what_is_moved_a_second_time_before_its_claim_still_tells_how_its_owner_ended(next_lost_by):
    """Otherwise what kills replicas would not be charged if the next one goes too soon."""
    owner = {"shard": "s", "incarnation": "i1", "epoch": 1}
    annotations = {}
    for lost_by in ("i1", next_lost_by):
        one = execution(phase="Executing", owner=owner, annotations=annotations)
        found = views.found_of(one, shard="s", lost_by=lost_by, now_ms=NOW_MS)
        patch = views.move_patch(move(orphan=found.orphan), group="g")
        annotations = {**annotations, **patch["metadata"]["annotations"]}
    assert annotations == {labels.LOST_BY: "i1", labels.DEATHS: "2" if next_lost_by else "1"}


def test_a_note_about_an_earlier_owner_is_replaced_when_the_next_one_dies():
    """It names the owner that the claim finds."""
    owner = {"shard": "s", "incarnation": "i2", "epoch": 2}
    one = execution(phase="Executing", owner=owner, annotations={labels.LOST_BY: "i1", labels.DEATHS: "1"})
    patch = views.move_patch(move(orphan=views.found_of(one, shard="s", lost_by="i2", now_ms=NOW_MS).orphan), group="g")
    assert patch["metadata"]["annotations"] == {labels.LOST_BY: "i2", labels.DEATHS: "2"}


def test_a_lease_that_was_taken_away_says_by_whom_and_keeps_the_rest():
    """Who held it is still to be seen."""
    before = Lease(
        metadata=ObjectMeta(name="l", resource_version="3", annotations={labels.INCARNATION: "i1"}),
        spec=LeaseSpec(holder_identity="s", lease_duration_seconds=40, lease_transitions=2),
    )
    after = views.expired(before, by=ReplicaIdentity(shard="me", incarnation="i9"))
    assert after.metadata.annotations == {labels.INCARNATION: "i1", labels.EXPIRED_BY: "i9"}
    assert after.metadata.resource_version == "3"
    assert after.spec == LeaseSpec(holder_identity="", lease_duration_seconds=40, lease_transitions=2)
    assert was_expired(after)


def test_a_contender_is_what_decides_about_its_turn():
    """Mutex, shard, age, and whether it has run; who has no mutex is none."""
    one = execution(mutex="m", creationTimestamp="1970-01-01T00:01:40Z", labels={labels.SHARD: "s"})
    expected = Contender(uid="u", name="e", version="7", mutex="m", shard="s", created_s=100.0)
    assert views.contender_of(one, is_sharded=True) == expected
    assert views.contender_of(one, is_sharded=False) == msgspec.structs.replace(expected, shard="")
    owner = ExecutionOwner(shard="s", incarnation="i", epoch=1)
    ran = msgspec.structs.replace(one, status=views.PlacedStatus(owner=owner))
    assert views.contender_of(ran, is_sharded=True) == msgspec.structs.replace(expected, has_started=True)
    assert views.contender_of(execution(), is_sharded=True) is None
    child = execution(mutex="m", owners=["Execution"], labels={labels.SHARD: "s"})
    assert (found_child := views.contender_of(child, is_sharded=True)) is not None
    assert found_child.needs_parent_group


def test_one_that_is_retried_has_no_shard_until_it_is_placed():
    """Its mutex' label stays: the leader has to know that the Lease of its last run is nobody's any more."""
    retried = execution(mutex="m", labels={labels.MUTEX: "m"})
    found = views.contender_of(retried, is_sharded=True)
    assert found is not None
    assert found.shard == ""


def test_an_applicant_is_what_decides_about_its_turn():
    """Function and age."""
    one = execution(creationTimestamp="1970-01-01T00:01:40Z")
    assert views.applicant_of(one) == Applicant(uid="u", name="e", function="f", created_s=100.0)


def test_a_grant_says_in_which_shard_its_holder_was_seen():
    """Where it is seen elsewhere it is claimed first: it may just be on its way from one shard to another."""
    to = Contender(uid="u", name="e", version="7", mutex="m", shard="w-1")
    lease = views.granted(Grant(to, None), group="g", now=NOW)
    assert views.is_granted_here(lease, "w-1")
    assert not views.is_granted_here(lease, "w-0")


def test_a_grant_is_for_one_run_of_its_holder():
    """What was granted before somebody retried it does not open; once it has begun it keeps what it has."""
    to = Contender(uid="u", name="e", version="7", mutex="m", retries=2)
    lease = views.granted(Grant(to, None), group="g", now=NOW)
    owner = ExecutionOwner(shard="s", incarnation="i", epoch=1)
    waits = ExecutionStatus(phase=Phase.PENDING, owner=owner, observed_retries=2)
    assert views.is_grant_of(lease, "u", waits)
    assert not views.is_grant_of(lease, "other", waits)
    assert not views.is_grant_of(lease, "u", msgspec.structs.replace(waits, observed_retries=3))
    begun = msgspec.structs.replace(waits, phase=Phase.EXECUTING, observed_retries=3)
    assert views.is_grant_of(lease, "u", begun)
    handed_on = views.granted(Grant(Contender(uid="v", name="f", version="7", mutex="m"), lease), group="g", now=NOW)
    assert views.is_grant_of(handed_on, "v", ExecutionStatus())
    assert labels.OBSERVED_RETRIES not in handed_on.metadata.annotations


def test_a_grant_creates_the_lease_or_hands_it_over():
    """It names mutex and holder for people too; what others have written into it stays."""
    to = Contender(uid="u", name="e", version="7", mutex="A/b")
    created = views.granted(Grant(to, None), group="g", now=NOW)
    assert created.metadata.name == f"kontinue-mutex.g.{mutex_key('A/b')}"
    assert created.metadata.labels == {labels.WORKER_GROUP: "g", labels.MUTEX: mutex_key("A/b")}
    assert created.metadata.annotations == {labels.MUTEX: "A/b", labels.EXECUTION: "e"}
    assert created.spec == LeaseSpec(holder_identity="u", acquire_time=NOW)
    assert views.is_granted_here(created, "")
    meta = msgspec.structs.replace(created.metadata, uid="l", resource_version="9", annotations={"team": "a"})
    held = msgspec.structs.replace(created, metadata=meta)
    given = views.granted(Grant(msgspec.structs.replace(to, uid="v", name="f"), held), group="g", now=NOW)
    assert (given.metadata.uid, given.metadata.resource_version) == ("l", "9")
    assert given.metadata.annotations == {"team": "a", labels.MUTEX: "A/b", labels.EXECUTION: "f"}
    assert given.spec == LeaseSpec(holder_identity="v", acquire_time=NOW, lease_transitions=1)
