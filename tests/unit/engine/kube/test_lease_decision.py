"""Whether a Lease may be taken: one table."""

import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.kube.lease_decision import Refuse, Take, Wait, can_see, decide, holder_of
from kontinue_engine.kube.process_identity import LeaseIdentity

ME = LeaseIdentity(shard="me", incarnation="i1", host="h", boot_id="b/1", pid=10, process_started="100")


def lease(holder="other", *, incarnation="i2", boot_id="b/1", pid="20"):
    notes = {
        labels.INCARNATION: incarnation,
        labels.BOOT_ID: boot_id,
        labels.PID: pid,
        labels.PROCESS_STARTED: "200",
        labels.HOST: "there",
    }
    return Lease(
        metadata=ObjectMeta(name="leader", annotations=notes),
        spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=40),
    )


@pytest.mark.parametrize(
    ("observed", "holder_lives", "unchanged_for_s", "changed", "expected"),
    [
        pytest.param(None, None, 0, False, Take(released=True), id="there is none"),
        pytest.param(lease(""), None, 0, False, Take(released=True), id="given back"),
        pytest.param(lease("", boot_id="b/2"), None, 0, True, Take(released=True), id="given back while watched"),
        pytest.param(lease("me", incarnation="i1"), True, 0, False, Take(released=False), id="mine: a lost answer"),
        pytest.param(lease("me"), False, 0, False, Take(released=False), id="my shard, dead incarnation"),
        pytest.param(lease("me"), True, 0, False, Refuse(), id="my shard, held by a live process"),
        pytest.param(lease(), False, 0, False, Take(released=False), id="dead process of this machine"),
        pytest.param(lease(), True, 999, False, Refuse(), id="live process that does not renew"),
        pytest.param(lease(), None, 0, False, Wait(for_s=40), id="elsewhere, just seen"),
        pytest.param(lease(), None, 39, False, Wait(for_s=1), id="elsewhere, almost expired"),
        pytest.param(lease(), None, 40, False, Take(released=False), id="elsewhere, expired"),
        pytest.param(lease(), None, 1, True, Refuse(), id="elsewhere, renewed while watched"),
    ],
)
def test_decision(observed, holder_lives, unchanged_for_s, changed, expected):
    """Free and expired Leases are taken, live holders are never robbed, the unseen are watched."""
    decision = decide(observed, ME, holder_lives=holder_lives, unchanged_for_s=unchanged_for_s, changed=changed)
    assert decision == expected


@pytest.mark.parametrize(
    ("boot_id", "pid", "seen"),
    [("b/1", "20", True), ("b/2", "20", False), ("", "20", False), ("b/1", "", False), ("b/1", "x", False)],
)
def test_a_pid_means_something_only_in_the_same_boot_and_pid_namespace(boot_id, pid, seen):
    """Every container has a process 1."""
    assert can_see(lease(boot_id=boot_id, pid=pid), ME) is seen


def test_a_foreign_holder_without_annotations_is_just_a_name():
    """For example one written by kubectl."""
    bare = Lease(metadata=ObjectMeta(name="leader"), spec=LeaseSpec(holder_identity="somebody"))
    assert (holder_of(bare).shard, holder_of(bare).pid) == ("somebody", 0)
