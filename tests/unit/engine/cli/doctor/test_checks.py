"""Each check of ``kontinue doctor`` on what it may see: what is wrong is said with a remedy, what is right is not."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.konductor.group import ORIGINAL_GROUP
from kontinue.api.meta import Condition, Lease, LeaseSpec, ObjectMeta, OwnerReference
from kontinue.api.rights import INSTALLED, RULES, Right, Role, rights, rules_of
from kontinue.api.v1alpha1 import (
    Execution,
    Function,
    FunctionSpec,
    Phase,
    ScheduledExecution,
    ScheduledExecutionSpec,
    ScheduledExecutionStatus,
    Suspension,
    SuspensionKind,
    SuspensionSpec,
    WaitingFor,
)
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli.causes import ways_out
from kontinue_engine.cli.doctor.checks import CHECKS, judge
from kontinue_engine.cli.doctor.findings import MAX_PER_CHECK, Finding, Severity, format_findings
from kontinue_engine.cli.doctor.object_checks import HUGE_BYTES, LARGE_BYTES
from kontinue_engine.cli.doctor.observed import (
    ExecutionFacts,
    Identity,
    Observed,
    PodFacts,
    PrimitiveFacts,
    ServerFacts,
    WaitGroupFacts,
)
from kontinue_engine.cli.doctor.observing import execution_facts
from kontinue_engine.cli.doctor.pods import pod_facts
from kontinue_engine.schedules.deciding import READY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVER = ServerFacts(address="https://x:6443", source="KUBECONFIG", namespace="shop", version="v1.36.3", latency_s=0.01)
EVERYTHING = dict.fromkeys((right for role in Role for right in rights(RULES[role])), True)


def kinds() -> dict[str, Any]:
    """Return our kinds as a server has them."""
    found = {crd["metadata"]["name"]: copy.deepcopy(crd) for crd in load_crds()}
    for crd in found.values():
        crd["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    return found


def lease(name: str, holder: str = "w-0", *, age: float = 3, group: str = "g", **annotations: str) -> Lease:
    """Return a Lease of a group that was renewed some seconds ago."""
    notes = {labels.INCARNATION: f"i-{holder}", labels.HOST: holder, **annotations}
    at = NOW - timedelta(seconds=age)
    return Lease(
        metadata=ObjectMeta(name=name, namespace="shop", labels={labels.WORKER_GROUP: group}, annotations=notes),
        spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=40, acquire_time=at, renew_time=at),
    )


def function(name: str, group: str = "g") -> Function:
    return Function(metadata=ObjectMeta(name=name, namespace="shop"), spec=FunctionSpec(name=name, worker_group=group))


def live(name: str = "x", **changes: Any) -> ExecutionFacts:
    """Return a live Execution that is an hour old."""
    facts = ExecutionFacts(
        name=name,
        namespace="shop",
        uid=f"uid-{name}",
        function="f",
        group="g",
        phase=Phase.EXECUTING,
        created=NOW - timedelta(hours=1),
        message="",
        waiting_for=(),
        crashes=0,
        size=2000,
    )
    return msgspec.structs.replace(facts, **changes)


def seen(**changes: Any) -> Observed:
    """Return a namespace in which everything is well, with changes."""
    identity = Identity(user="ada", server_time=NOW, asked_at=NOW, answered_at=NOW)
    well = Observed(
        server=SERVER,
        now=NOW,
        now_s=1000.0,
        identity=identity,
        rights=EVERYTHING,
        roles=INSTALLED,
        kinds=kinds(),
        leases=(lease("kontinue-leader.g"),),
        functions=(function("f"),),
        suspensions=(),
        executions=(live(),),
        schedules=(),
        archives=(),
    )
    return msgspec.structs.replace(well, **changes)


def problems(**changes: Any) -> list[Finding]:
    """Return what is wrong then; each problem has a remedy."""
    found = [finding for finding in judge(seen(**changes)) if finding.severity is not Severity.OK]
    assert all(finding.remedy for finding in found)
    return found


def only(**changes: Any) -> Finding:
    """Return the one thing that is wrong then."""
    (found,) = problems(**changes)
    return found


def test_nothing_is_wrong_where_everything_is_well() -> None:
    """And each check that has something to praise does so."""
    found = judge(seen())
    assert {finding.severity for finding in found} == {Severity.OK}
    assert [finding.check for finding in found] == [
        "server",
        "clock",
        "rights",
        "kinds",
        "groups",
        "functions",
        "executions",
    ]


def test_a_server_that_does_not_answer_is_all_there_is_to_say() -> None:
    """With how it was found, and how to choose another one."""
    (found,) = judge(Observed(server=SERVER, now=NOW, now_s=0.0, refusals={"server": "connection refused"}))
    assert found.severity is Severity.ERROR
    assert "found by KUBECONFIG: connection refused" in found.what
    assert "--context" in found.remedy


def test_a_server_that_is_not_ready_says_why() -> None:
    """It answers, and yet stores nothing: all waits look as if a worker were missing."""
    found = only(refusals={"readiness": "HTTP 500: [-]storage failed: disk full"})
    assert (found.check, found.severity) == ("server", Severity.ERROR)
    assert "disk full" in found.what
    assert "/readyz?verbose" in found.remedy


def test_credentials_that_are_not_accepted_are_all_there_is_to_say() -> None:
    """Nothing else could be asked."""
    (found,) = judge(Observed(server=SERVER, now=NOW, now_s=0.0, refusals={"credentials": "401"}))
    assert found.severity is Severity.ERROR
    assert "log in again" in found.remedy


def test_lists_of_kinds_that_are_not_installed_are_not_reported_again() -> None:
    """One cause, one finding."""
    name = "functions.kontinue.cloud"
    found = only(kinds={**kinds(), name: None}, functions=None, refusals={"functions": "404"})
    assert (found.check, found.object) == ("kinds", name)


@pytest.mark.parametrize(
    ("changes", "severity", "says"),
    [({"version": "v1.28.4"}, Severity.ERROR, "too old"), ({"latency_s": 0.9}, Severity.WARNING, "900ms")],
)
def test_old_and_slow_servers_are_named(changes: Any, severity: Severity, says: str) -> None:
    """By version, and by how long they take."""
    found = only(server=msgspec.structs.replace(SERVER, **changes))
    assert (found.check, found.severity, says in found.what) == ("server", severity, True)


@pytest.mark.parametrize(
    ("server_time", "asked_s", "expected"),
    [
        (NOW, 0.9, ""),  # cut to the second
        (NOW, 6.9, "5.9s behind"),
        (NOW + timedelta(seconds=60), 2, "58s ahead of"),
        (NOW + timedelta(seconds=4), 0, ""),
    ],
)
def test_clocks_are_compared_as_far_as_seconds_and_latency_allow(
    server_time: datetime, asked_s: float, expected: str
) -> None:
    """A slow answer is no skew."""
    at = NOW + timedelta(seconds=asked_s)
    found = problems(identity=Identity(user="ada", server_time=server_time, asked_at=at, answered_at=at))
    assert [expected in finding.what for finding in found] == ([True] if expected else [])


def test_somebody_with_the_rights_of_one_role_is_well() -> None:
    """Not everybody is an operator."""
    client = {right: right in set(rights(RULES[Role.CLIENT])) for right in EVERYTHING}
    assert problems(rights=client) == []
    found = only(rights=client, roles=(Role.OPERATOR,))
    assert (found.check, found.severity) == ("rights", Severity.ERROR)
    assert "may not patch executions/status.kontinue.cloud" in found.what
    assert "--role kontinue-operator --user ada -n shop" in found.remedy


def test_what_lacks_of_primitives_in_the_originals_group_is_told_with_that_group() -> None:
    """The roles and kinds of ours are other ones."""
    server = msgspec.structs.replace(SERVER, api_group=ORIGINAL_GROUP)
    there = {right: True for role in Role for right in rights(rules_of(role, [ORIGINAL_GROUP]))}
    granted = {**there, Right(ORIGINAL_GROUP, "waitgroups", "watch"): False}
    found = judge(seen(server=server, rights=granted, roles=(Role.CLIENT,)))
    lacking = next(one for one in found if one.check == "rights")
    absent = next(one for one in found if one.check == "kinds" and one.severity is Severity.ERROR)
    assert lacking.what.endswith("may not watch waitgroups.sync.konductor.io")
    assert absent.object.endswith(".sync.konductor.io")
    for one in (lacking, absent):
        assert "kontinue install --api-group sync.konductor.io" in one.remedy


def test_somebody_without_rights_is_told_which_by_verb_and_resource() -> None:
    """Those of a client: they are the least."""
    found = only(rights=dict.fromkeys(EVERYTHING, False))
    assert "cannot work as client: may not get functions.kontinue.cloud, list functions.kontinue.cloud" in found.what
    first = Right(labels.GROUP, "functions", "get")
    found = only(rights={**dict.fromkeys(EVERYTHING, True), first: False})
    assert found.what == "ada cannot work as client: may not get functions.kontinue.cloud"


def test_kinds_are_judged_one_by_one() -> None:
    """Absent, older, newer, different, not served."""
    name = "executions.kontinue.cloud"
    assert only(kinds={**kinds(), name: None}).what == "is not installed"
    for change, severity, says in (
        (lambda fields: fields.pop("mutex"), Severity.ERROR, "is of an older version: it lacks spec.mutex"),
        (lambda fields: fields.update(more={}), Severity.WARNING, "is of a newer version: it has also spec.more"),
        (lambda fields: fields["function"].update(maxLength=3), Severity.WARNING, "it has otherwise spec.function"),
    ):
        found = kinds()
        change(found[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
        finding = only(kinds=found)
        assert (finding.object, finding.severity, says in finding.what) == (name, severity, True)
    assert only(kinds=dict.fromkeys(kinds())).what == "none is installed"
    found = kinds()
    found[name]["status"]["conditions"][0]["status"] = "False"
    assert only(kinds=found).what == "is not served yet"


@pytest.mark.parametrize(
    "part", ["identity", "rights", "kinds", "leases", "functions", "suspensions", "executions", "schedules", "archives"]
)
def test_what_may_not_be_read_is_a_finding_and_stops_nothing(part: str) -> None:
    """The other checks go on."""
    found = problems(**{part: None}, refusals={part: "403: cannot list"})
    assert [(finding.severity, "403: cannot list" in finding.what) for finding in found] == [(Severity.WARNING, True)]


def test_lists_that_were_cut_are_named() -> None:
    """Nothing is concluded from what is missing in them."""
    found = only(cut={"executions": 1}, suspensions=(suspension(),), executions=())
    assert found.what == "there are more than the first 1 that were looked at"


def pod(status: dict[str, Any]) -> PodFacts:
    created = (NOW - timedelta(hours=1)).isoformat()
    metadata = {"name": "shop-0", "namespace": "shop", "creationTimestamp": created}
    containers = [{"name": "worker", **one} for one in status.get("containerStatuses", ())]
    document = {"metadata": metadata, "status": {**status, "containerStatuses": containers}}
    return pod_facts(msgspec.Raw(msgspec.json.encode(document)))


def test_pods_that_do_not_start_are_errors_and_those_that_start_anew_warnings() -> None:
    """With what their status says."""
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    found = only(pods=(pod({"phase": "Pending", "containerStatuses": [{"state": pulling}]}),))
    assert (found.severity, found.what) == (Severity.ERROR, "ImagePullBackOff: no such image")
    scheduled = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    found = only(pods=(pod({"phase": "Pending", "conditions": [scheduled]}),))
    assert (found.severity, found.what) == (Severity.ERROR, "no node takes it: 0/3 nodes are available")
    creating = {"waiting": {"reason": "ContainerCreating"}}
    found = only(pods=(pod({"phase": "Pending", "containerStatuses": [{"state": creating}]}),))
    assert (found.severity, found.what) == (Severity.WARNING, "is Pending for 60m")
    ended = {"restartCount": 3, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    found = only(pods=(pod({"phase": "Running", "containerStatuses": [ended]}),))
    assert found.what == "its container has ended 3 times, the last time with exit code 137"
    assert problems(pods=(pod({"phase": "Running"}),)) == []


def test_groups_without_a_living_replica_are_errors_and_so_is_what_waits_for_them() -> None:
    """A Lease that has run out, or was given back."""
    for dead in (lease("kontinue-leader.g", age=100), lease("kontinue-leader.g", "")):
        found = problems(leases=(dead,), executions=(live(phase=Phase.PENDING),))
        assert [(one.check, one.severity) for one in found] == [
            ("groups", Severity.ERROR),
            ("functions", Severity.WARNING),
            ("executions", Severity.ERROR),
        ]


def test_a_namespace_without_workers_says_so() -> None:
    """A warning: nobody may have started any yet."""
    assert only(leases=(), functions=(), executions=()).what == "no worker has ever run here"


def test_silent_shards_mixed_builds_and_a_missing_leader_are_warnings() -> None:
    """While somebody lives."""
    leader, first = lease("kontinue-leader.g"), lease("kontinue-shard.g.w-0", **{labels.BUILD: "a"})
    silent = lease("kontinue-shard.g.w-1", "w-1", age=300, **{labels.BUILD: "b"})
    assert "shard w-1 on w-1 has not renewed its Lease for 5m" in only(leases=(leader, first, silent)).what
    other = lease("kontinue-shard.g.w-1", "w-1", **{labels.BUILD: "b"})
    assert "2 builds: 1 x a, 1 x b" in only(leases=(leader, first, other)).what
    assert only(leases=(first,)).what.startswith("nobody leads")


def test_pending_ones_tell_why_nobody_takes_them() -> None:
    """No such function (with the nearest name), a group that is gone, or a leader that does not see them."""
    found = only(executions=(live(phase=Phase.PENDING, group="", function="ff"),))
    assert "the function ff, which no worker has (did you mean f?)" in found.what
    found = only(executions=(live(phase=Phase.PENDING, group="old"),))
    assert "belongs to group old, of which no replica lives; f is now of group g" in found.what
    assert only(executions=(live(phase=Phase.PENDING, group=""),)).severity is Severity.WARNING
    limited = WaitingFor(kind="Function", name="f")
    assert problems(executions=(live(phase=Phase.PENDING, group="", waiting_for=(limited,)),)) == []
    young = NOW - timedelta(seconds=10)
    assert problems(executions=(live(phase=Phase.PENDING, group="", function="ff", created=young),)) == []


def test_blocked_crashing_and_large_ones_are_named() -> None:
    """Before they fail."""
    found = only(executions=(live(phase=Phase.BLOCKED, message="step 1: recorded a; requested b"),))
    assert (found.severity, found.object) == (Severity.ERROR, "executions/x")
    assert "recorded a; requested b" in found.what
    assert ways_out("x", " -n shop") in found.remedy
    assert "kontinue describe x -n shop" in found.remedy
    assert "2 runners died" in only(executions=(live(crashes=2),)).what
    assert problems(executions=(live(crashes=1),)) == []
    assert only(executions=(live(size=LARGE_BYTES),)).severity is Severity.WARNING
    assert only(executions=(live(size=HUGE_BYTES),)).severity is Severity.ERROR


def test_many_findings_of_a_kind_are_counted() -> None:
    """The first ones tell what is wrong."""
    found = [one for one in judge(seen(executions=[live(crashes=2)] * 50)) if one.severity is Severity.WARNING]
    assert (len(found), found[-1].what) == (MAX_PER_CHECK + 1, "40 more of this kind")


def suspension(kind: SuspensionKind = SuspensionKind.SLEEP, *, days: float = 1) -> Suspension:
    owner = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="x", uid="uid-x")
    created = NOW - timedelta(days=days)
    meta = ObjectMeta(name="s", namespace="shop", owner_references=[owner], creation_timestamp=created)
    return Suspension(metadata=meta, spec=SuspensionSpec(execution="x", kind=kind, display_name="Ship it?"))


def test_open_suspensions_of_ended_ones_and_unanswered_questions_are_warnings() -> None:
    """Not at once, and not for sleeps, which may take months."""
    assert "its Execution x has ended" in only(suspensions=(suspension(),), executions=()).what
    assert problems(suspensions=(suspension(days=0),), executions=()) == []
    assert problems(suspensions=(suspension(days=300),)) == []
    found = only(suspensions=(suspension(SuspensionKind.MANUAL, days=8),))
    assert 'has waited 8d for an answer "Ship it?"' in found.what
    assert found.remedy == "kontinue resume x -n shop"


def test_mutexes_that_outlive_their_holder_are_warnings() -> None:
    """After a while: the leader has to find out that nothing runs."""
    held = {labels.MUTEX: "prod", labels.EXECUTION: "gone"}
    leader = lease("kontinue-leader.g")
    found = only(leases=(leader, lease("kontinue-mutex.g.prod", "uid-gone", age=900, **held)))
    assert "mutex prod is still kept for gone" in found.what
    assert problems(leases=(leader, lease("kontinue-mutex.g.prod", "uid-gone", age=60, **held))) == []
    assert problems(leases=(leader, lease("kontinue-mutex.g.prod", "uid-x", age=900, **held))) == []


def schedule(status: ScheduledExecutionStatus | None = None, **spec: Any) -> ScheduledExecution:
    return ScheduledExecution(
        metadata=ObjectMeta(name="nightly", namespace="shop"),
        spec=ScheduledExecutionSpec(**{"schedule": "0 3 * * *", "function": "f", **spec}),
        status=status or ScheduledExecutionStatus(),
    )


def test_schedules_that_cannot_start_anything_are_errors() -> None:
    """A bad zone or expression, an unknown function; warnings if they are late or refused."""
    assert "Mars/Olympus" in only(schedules=(schedule(time_zone="Mars/Olympus"),)).what
    assert "61" in only(schedules=(schedule(schedule="61 * * * *"),)).what
    assert only(schedules=(schedule(function="gone"),)).what == "no worker has the function gone"
    late = ScheduledExecutionStatus(next_schedule_time=NOW - timedelta(hours=2))
    assert "was due 120m ago" in only(schedules=(schedule(late),)).what
    assert problems(schedules=(schedule(late, suspend=True),)) == []
    refused = ScheduledExecutionStatus(conditions=[Condition(type=READY, status="False", message="no")])
    assert only(schedules=(schedule(refused),)).what == "starts nothing: no"


def part(number: int, parts: int = 2) -> ObjectMeta:
    key = f"uid 5 6 digest {number} {parts} tree"
    created = NOW - timedelta(days=1)
    return ObjectMeta(
        name=f"a-{number}", namespace="shop", annotations={labels.ARCHIVE_PART: key}, creation_timestamp=created
    )


def test_archives_with_missing_parts_are_errors() -> None:
    """And what no archive knows is a warning."""
    assert problems(archives=(part(1), part(2))) == []
    found = only(archives=(part(2),))
    assert (found.severity, found.object) == (Severity.ERROR, "executions/tree")
    assert "lacks 1 part of 2: 1" in found.what
    assert only(archives=(ObjectMeta(name="mine", namespace="shop"),)).severity is Severity.WARNING


def test_facts_of_an_execution_are_what_the_checks_need() -> None:
    """With its size as the server sent it."""
    body = {"metadata": {"name": "x", "namespace": "shop", "uid": "1"}, "spec": {"function": "f"}, "status": {}}
    raw = msgspec.Raw(msgspec.json.encode(body))
    facts = execution_facts(raw)
    assert (facts.name, facts.phase, facts.size) == ("x", Phase.PENDING, len(bytes(raw)))
    assert msgspec.json.decode(raw, type=Execution).phase is facts.phase


def test_findings_are_printed_with_their_remedy_below() -> None:
    """And all lines of what was found."""
    found = Finding(severity=Severity.ERROR, check="kinds", object="x", what="one\ntwo", remedy="do it")
    assert format_findings([found], color=False) == "✗ kinds      x: one\n             two\n             -> do it"


def test_the_document_lists_every_check() -> None:
    """By the word that findings start with, in their order."""
    document = (Path(__file__).parents[5] / "docs" / "doctor.md").read_text()
    listed = re.findall(r"^\| (\w+) \|", document.partition("## What it looks at")[2], re.MULTILINE)
    named = [check.__name__.removeprefix("check_") for check in CHECKS]
    assert listed == ["check", *(name for name in named if name != "reading")]


WITH_HOLDERS = WaitGroupFacts(name="jobs", namespace="shop", holders=2, held=5)


def coordinated(**changes: Any) -> dict[str, Any]:
    """Return a world with a WaitGroup whose counts are bound, and the only Lease of a coordinator."""
    kept = changes.pop("kept", lease("kontinue-coordinator"))
    return {"wait_groups": (WITH_HOLDERS,), "coordinators": (kept,), "sees_all_coordinators": True, **changes}


def coordinator(namespace: str, looks_after: str) -> Lease:
    """Return the Lease of one that says what it looks after; empty: of an earlier version, which does not."""
    kept = lease("kontinue-coordinator")
    notes = {labels.LOOKS_AFTER: looks_after} if looks_after else {}
    meta = ObjectMeta(name="kontinue-coordinator", namespace=namespace, annotations=notes)
    return msgspec.structs.replace(kept, metadata=meta)


def test_counts_of_holders_need_a_coordinator() -> None:
    """Nobody else takes off what the dead have left."""
    found = only(**coordinated(coordinators=()))
    assert (found.severity, found.object) == (Severity.ERROR, "waitgroups/jobs")
    assert "2 holders with 5 of its counter" in found.what
    assert "kontinue coordinator run -n shop" in found.remedy
    for gone in (lease("kontinue-coordinator", age=41), lease("kontinue-coordinator", "")):
        assert only(**coordinated(kept=gone)).severity is Severity.ERROR
    assert problems(**coordinated()) == []


def test_who_sees_only_one_namespace_is_not_told_that_no_coordinator_works() -> None:
    """One that looks after all namespaces has its Lease in any of them."""
    found = only(**coordinated(coordinators=(), sees_all_coordinators=False))
    assert (found.severity, "you may not see" in found.what) == (Severity.WARNING, True)
    elsewhere = lease("kontinue-coordinator")
    elsewhere = msgspec.structs.replace(elsewhere, metadata=ObjectMeta(name="kontinue-coordinator", namespace="infra"))
    assert problems(**coordinated(kept=elsewhere)) == []


def test_a_coordinator_of_another_namespace_is_none() -> None:
    """It is told which namespace has one, and how this one gets its own; one of all namespaces is one everywhere."""
    for known in ({"wait_groups": (WITH_HOLDERS,)}, {"wait_groups": (), "primitives": (primitive(),)}):
        found = only(**coordinated(kept=coordinator("infra", "infra"), **known))
        assert found.severity is Severity.ERROR
        assert "no coordinator looks after namespace shop: one does after namespace infra" in found.what
        assert "kontinue coordinator run -n shop" in found.remedy
        assert problems(**coordinated(kept=coordinator("infra", labels.ALL_NAMESPACES), **known)) == []


def test_what_a_coordinator_looks_after_is_told() -> None:
    """One of an earlier version does not say for which namespaces it works, besides its own."""
    unsure = "a coordinator of an earlier version works in namespace infra, and does not say for which namespaces"
    for kept, said in (
        (coordinator("shop", "shop"), "a coordinator looks after namespace shop"),
        (coordinator("infra", labels.ALL_NAMESPACES), "a coordinator in namespace infra looks after all namespaces"),
        (coordinator("shop", ""), "a coordinator works in namespace shop"),
        (coordinator("infra", ""), unsure),
    ):
        praised = [one.what for one in judge(seen(**coordinated(kept=kept))) if one.check == "waitgroups"]
        assert praised == [f"1 WaitGroup with holders; {said}"]


def test_of_objects_in_several_namespaces_each_is_judged_by_its_own() -> None:
    """As with all namespaces."""
    world = coordinated(
        coordinators=(coordinator("infra", "infra"),),
        wait_groups=(),
        primitives=(primitive(), primitive(namespace="infra")),
    )
    found = [one for one in judge(seen(**world)) if one.check == "primitives"]
    assert [(one.severity, one.object) for one in found] == [(Severity.OK, ""), (Severity.ERROR, "semaphores/db")]
    assert found[0].what == "1 object that needs one; a coordinator looks after namespace infra"


def test_nothing_is_said_of_coordinators_where_nobody_needs_one() -> None:
    """Counting needs none."""
    free = WaitGroupFacts(name="jobs", namespace="shop", holders=0, held=0)
    assert problems(**coordinated(coordinators=(), wait_groups=(free,))) == []
    assert problems(**coordinated(coordinators=None)) == []


def test_a_local_server_alone_has_no_coordinator() -> None:
    """The one in ``kontinue dev`` keeps a Lease, too."""
    local = msgspec.structs.replace(SERVER, version="v1.36.0+kontinue")
    found = only(**coordinated(coordinators=(), server=local))
    assert "no coordinator keeps a Lease" in found.what
    assert problems(**coordinated(server=local)) == []


def primitive(**changes: Any) -> PrimitiveFacts:
    """Return a Semaphore, as it is an hour after it was created."""
    known: dict[str, Any] = {"plural": "semaphores", "noun": "semaphore", "name": "db", "namespace": "shop"}
    return PrimitiveFacts(**{**known, "created": NOW - timedelta(hours=1), "needs": "nobody grants", **changes})


def test_what_does_nothing_without_a_coordinator_needs_one() -> None:
    """Where none works that is an error; where one does, all is well."""
    found = only(**coordinated(coordinators=(), wait_groups=(), primitives=(primitive(),)))
    assert (found.severity, found.object) == (Severity.ERROR, "semaphores/db")
    assert "nobody grants: no coordinator keeps a Lease" in found.what
    assert problems(**coordinated(primitives=(primitive(),))) == []
    assert problems(**coordinated(coordinators=(), wait_groups=(), primitives=(primitive(needs=""),))) == []


def test_a_coordinator_that_looks_at_nothing_is_of_an_older_version_or_for_another_namespace() -> None:
    """Said of what is a minute old."""
    found = only(**coordinated(primitives=(primitive(is_seen=False),)))
    assert (found.severity, found.object) == (Severity.WARNING, "semaphores/db")
    assert "no coordinator has looked at it for 60m" in found.what
    new = primitive(is_seen=False, created=NOW - timedelta(seconds=30))
    assert problems(**coordinated(primitives=(new,))) == []


def test_a_lock_that_nobody_ends_is_told_after_an_hour() -> None:
    """With the command that ends it."""
    held = {"plural": "mutexes", "noun": "mutex", "name": "deploy", "needs": "", "holder": "me"}
    found = only(primitives=(primitive(**held, held_since=NOW - timedelta(hours=2)),))
    assert (found.severity, found.object) == (Severity.WARNING, "mutexes/deploy")
    assert "held by me for 120m, without a ttl" in found.what
    assert "kontinue mutex unlock deploy --holder me -n shop" in found.remedy
    assert problems(primitives=(primitive(**held, held_since=NOW - timedelta(minutes=59)),)) == []
