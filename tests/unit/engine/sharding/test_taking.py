"""Whether a Lease may be taken: one table."""

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.leases import ReplicaIdentity
from kontinue_engine.sharding.taking import Refuse, Take, Wait, can_see, decide

ME = ReplicaIdentity(shard="me", incarnation="i1", host="h", boot_id="b/1", pid=10, process_started="100")
MY_POD = msgspec.structs.replace(ME, pod_uid="pod-1")


def lease(holder="other", *, incarnation="i2", boot_id="b/1", pid="20", pod_uid="", expired_by=""):
    notes = {
        labels.INCARNATION: incarnation,
        labels.BOOT_ID: boot_id,
        labels.PID: pid,
        labels.PROCESS_STARTED: "200",
        labels.HOST: "there",
        labels.POD_UID: pod_uid,
        labels.EXPIRED_BY: expired_by,
    }
    return Lease(
        metadata=ObjectMeta(name="leader", annotations={key: value for key, value in notes.items() if value}),
        spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=40),
    )


@pytest.mark.parametrize(
    ("observed", "holder_lives", "silent_for_s", "changed", "expected"),
    [
        pytest.param(None, None, 0, False, Take(released=True), id="there is none"),
        pytest.param(lease(""), None, 0, False, Take(released=True), id="given back"),
        pytest.param(lease("", boot_id="b/2"), None, 0, True, Take(released=True), id="given back while watched"),
        pytest.param(lease("", expired_by="i3"), None, 0, False, Take(released=False), id="a leader took it away"),
        pytest.param(lease("me", incarnation="i1"), True, 0, False, Take(released=False), id="mine: a lost answer"),
        pytest.param(lease("me"), False, 0, False, Take(released=False), id="my shard, dead incarnation"),
        pytest.param(lease("me"), True, 0, False, Refuse(), id="my shard, held by a live process"),
        pytest.param(lease(), False, 0, False, Take(released=False), id="dead process of this machine"),
        pytest.param(lease(), True, 39, False, Refuse(), id="live process that is late"),
        pytest.param(lease(), True, 40, False, Take(released=False), id="live process that is frozen"),
        pytest.param(lease(), None, 0, False, Wait(for_s=40), id="elsewhere, just seen"),
        pytest.param(lease(), None, 39, False, Wait(for_s=1), id="elsewhere, almost expired"),
        pytest.param(lease(), None, 40, False, Take(released=False), id="elsewhere, expired"),
        pytest.param(lease(), None, 1, True, Refuse(), id="elsewhere, renewed while watched"),
        pytest.param(lease(), None, 40, True, Take(released=False), id="elsewhere, renewed once and then no more"),
    ],
)
def test_decision(observed, holder_lives, silent_for_s, changed, expected):
    """Free and expired Leases are taken, live holders are never robbed, the unseen are watched."""
    assert decide(observed, ME, holder_lives=holder_lives, silent_for_s=silent_for_s, changed=changed) == expected


@pytest.mark.parametrize(
    ("pod_uid", "holder_lives", "expected"),
    [
        pytest.param("pod-1", None, Take(released=False), id="an earlier container of our pod"),
        pytest.param("pod-1", True, Refuse(), id="a process beside us in our container"),
        pytest.param("pod-2", None, Wait(for_s=40), id="another pod"),
        pytest.param("", None, Wait(for_s=40), id="no pod at all"),
    ],
)
def test_a_container_that_is_started_again_takes_its_own_lease_back_at_once(pod_uid, holder_lives, expected):
    """A pod runs one container of a name at a time, so its uid proves that the holder is dead."""
    observed = lease("me", boot_id="b/2", pod_uid=pod_uid)
    assert decide(observed, MY_POD, holder_lives=holder_lives, silent_for_s=0, changed=False) == expected


@pytest.mark.parametrize(
    ("boot_id", "pid", "pod_uid", "seen"),
    [
        pytest.param("b/1", "20", "", True, id="this machine"),
        pytest.param("b/2", "20", "", False, id="another boot or pid namespace"),
        pytest.param("", "20", "", False, id="unknown boot"),
        pytest.param("b/1", "", "", False, id="no pid"),
        pytest.param("b/1", "x", "", False, id="a pid that is no number"),
        pytest.param("b/1", "20", "pod-2", False, id="another pod"),
    ],
)
def test_a_pid_means_something_only_in_the_same_boot_pid_namespace_and_pod(boot_id, pid, pod_uid, seen):
    """Every container has a process 1."""
    assert can_see(lease(boot_id=boot_id, pid=pid, pod_uid=pod_uid), ME) is seen


def test_a_pid_means_something_inside_of_one_pod():
    """For example for a second process that somebody starts in the same container."""
    assert can_see(lease(pod_uid="pod-1"), MY_POD)
