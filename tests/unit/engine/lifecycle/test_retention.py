"""How long what has ended is kept, and which archives count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kontinue.api.meta import Condition, ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionDefaults,
    ExecutionOwner,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionStatus,
    ExecutionTTL,
    Phase,
)
from kontinue.archives import PartKey
from kontinue_engine.lifecycle import retention
from kontinue_engine.lifecycle.retention import UNCLAIMED_PATIENCE_S, Due, StoredPart
from kontinue_engine.lifecycle.times import ms_of

HOUR_MS = 3_600_000
ENDED = datetime(2026, 1, 1, tzinfo=UTC)
ENDED_MS = ms_of(ENDED)


@pytest.mark.parametrize(
    ("archive", "delete", "due"),
    [
        ("", "", Due(None, None)),
        ("1h", "", Due(HOUR_MS, None)),
        ("", "1h", Due(None, HOUR_MS)),
        ("1h", "2h", Due(HOUR_MS, 2 * HOUR_MS)),
        ("2h", "1h", Due(None, HOUR_MS)),
        ("1h", "1h", Due(None, HOUR_MS)),
        ("0s", "0", Due(None, None)),
        ("0s", "1h", Due(None, HOUR_MS)),
        ("soon", "99999999999h", Due(None, None)),
        ("87600h", "70080000h", Due(87_600 * HOUR_MS, None)),
    ],
)
def test_both_times_count_from_the_end_and_zero_is_none(archive: str, delete: str, due: Due) -> None:
    """Nothing is archived that is deleted at once, and what no date can name never comes."""
    assert retention.due_of(ExecutionTTL(archive_after=archive, delete_after=delete), 0) == due


def test_the_nearest_word_on_the_ttl_counts_as_a_whole() -> None:
    """The spec, else the function as it was when it first ran, else the worker."""
    spec, recorded, now, worker = (ExecutionTTL(archive_after=text) for text in ("1h", "2h", "3h", "4h"))
    old, new = ExecutionDefaults(ttl=recorded), ExecutionDefaults(ttl=now)
    assert retention.ttl_of(spec, old, new, worker, has_run=True) == spec
    assert retention.ttl_of(ExecutionTTL(), old, new, worker, has_run=True) == ExecutionTTL()
    assert retention.ttl_of(None, old, new, worker, has_run=True) == recorded
    assert retention.ttl_of(None, None, new, worker, has_run=True) == worker
    assert retention.ttl_of(None, None, new, worker, has_run=False) == now
    assert retention.ttl_of(None, None, None, None, has_run=False) is None
    assert retention.is_archived(spec)
    assert not retention.is_archived(ExecutionTTL(archive_after="2h", delete_after="1h"))


def test_an_end_that_is_not_written_is_that_of_its_stop() -> None:
    """A client's cancel does not say when."""
    meta = ObjectMeta(creation_timestamp=ENDED - timedelta(days=1))
    stopped = [Condition(type="Stopped", status="True", last_transition_time=ENDED)]
    assert retention.ended_ms(meta, ENDED, []) == ENDED_MS
    assert retention.ended_ms(meta, None, stopped) == ENDED_MS
    assert retention.ended_ms(meta, None, []) == ENDED_MS - 24 * HOUR_MS
    assert retention.ended_ms(ObjectMeta(), None, []) is None


def execution(phase: Phase = Phase.FAILED, *, stopped: bool = True, owned: bool = True, wanted: int = 0) -> Execution:
    return Execution(
        metadata=ObjectMeta(name="e", generation=2 if wanted else 1),
        spec=ExecutionSpec(function="f", retry=ExecutionRetry(retries=wanted)),
        status=ExecutionStatus(
            phase=phase,
            finished_at=ENDED,
            owner=ExecutionOwner(shard="s", incarnation="i", epoch=1) if owned else None,
            conditions=[Condition(type="Stopped", status="True")] if stopped else [],
        ),
    )


def test_only_what_is_at_rest_may_go() -> None:
    """Nothing of it runs, and nobody has asked that it runs again."""
    long_s = UNCLAIMED_PATIENCE_S
    assert retention.why_not_at_rest(execution(), 0) == ""
    assert retention.why_not_at_rest(execution(Phase.SUSPENDED), long_s) == "e is Suspended"
    assert retention.why_not_at_rest(execution(wanted=1), long_s) == "a retry of e is asked for"
    assert retention.why_not_at_rest(execution(stopped=False), long_s) == "e may still be stopping"
    never_claimed = execution(Phase.CANCELED, stopped=False, owned=False)
    assert retention.why_not_at_rest(never_claimed, long_s - 1) == "e may still be stopping"
    assert retention.why_not_at_rest(never_claimed, long_s) == ""
    others = execution(), execution(stopped=False), execution(Phase.PENDING, stopped=False, owned=False)
    assert [retention.is_unclaimed(one) for one in (never_claimed, *others)] == [True, False, False, False]


def test_what_descends_from_a_root_is_found_by_uids() -> None:
    """Not what has only its label, and owners in a circle are no trap."""

    def owned(uid: str) -> list[OwnerReference]:
        return [OwnerReference(api_version="v", kind="Execution", name="n", uid=uid)]

    owners = {
        "child": owned("root"),
        "grandchild": owned("child"),
        "of another": owned("dead"),
        "a": owned("b"),
        "b": owned("a"),
        "root": owned("grandchild"),
        "no child": [],
    }
    assert retention.below("root", owners) == {"child", "grandchild"}


def part(digest: str, version: int, number: int = 1, of: int = 1, *, newest: int = 9) -> StoredPart:
    return StoredPart(PartKey("u", version, newest, digest, number, of, "e"), ObjectMeta(name=f"{digest}-{number}"))


def dropped(*parts: StoredPart, living: int | None) -> list[str]:
    return sorted(one.meta.name for one in retention.superfluous(parts, living))


def test_beside_a_living_root_only_archives_of_older_versions_go() -> None:
    """One of the same version may be what another leader is about to delete the root for; a newer one is news."""
    found = part("old", 1), part("same", 2), part("same-too", 2), part("new", 3)
    assert dropped(*found, living=2) == ["old-1"]


def test_without_a_root_the_newest_whole_archive_stays() -> None:
    """All others go, by their first parts; without a whole one nothing is worth anything."""
    whole = part("whole", 2, 1, 2), part("whole", 2, 2, 2)
    half = part("half", 3, 1, 2)
    assert dropped(*whole, half, part("older", 1), living=None) == ["half-1", "older-1"]
    assert dropped(part("a", 2), part("b", 2), living=None) == ["a-1"]
    assert dropped(part("a", 2, newest=5), part("b", 2, newest=4), living=None) == ["b-1"]
    assert dropped(half, part("tail", 3, 2, 2), living=None) == ["half-1"]
    assert dropped(living=None) == []


def test_an_archive_that_was_whole_is_not_dropped_for_what_somebody_has_deleted_of_it() -> None:
    """What is left may be made whole from a backup; beside one that is whole it is worth nothing."""
    damaged = part("damaged", 3, 1, 3), part("damaged", 3, 3, 3)
    assert dropped(*damaged, living=None) == []
    assert dropped(*damaged, part("older", 1), living=None) == ["damaged-1"]


def test_one_whole_archive_needs_no_look() -> None:
    """Two, or a half, do."""
    assert retention.is_settled([part("a", 1, 2, 2), part("a", 1, 1, 2)])
    assert not retention.is_settled([part("a", 1, 1, 2)])
    assert not retention.is_settled([part("a", 1), part("b", 1)])


def test_an_execution_with_a_parent_is_no_root() -> None:
    """One that a schedule owns is."""
    owner = OwnerReference(api_version="v", kind="Execution", name="n", uid="u")
    schedule = msgspec.structs.replace(owner, kind="ScheduledExecution")
    assert not retention.is_root(ObjectMeta(owner_references=[owner]))
    assert retention.is_root(ObjectMeta(owner_references=[schedule]))
