"""What ``kontinue shards`` says about groups, from Leases and counts."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kontinue.api import labels
from kontinue.api.meta import Event, Lease, LeaseSpec, ObjectMeta, ObjectReference
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli.shard_view import GroupKey, GroupView, build_views, format_views, group_of
from kontinue_engine.sharding.lease_book import LeaseBook

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = ("default", "shop")
LEADER = "kontinue-leader.shop"


def lease(name: str, holder: str, *, age_s: float = 3, **notes: str) -> Lease:
    annotations = {f"kontinue.cloud/{key.replace('_', '-')}": value for key, value in notes.items()}
    renewed = NOW - timedelta(seconds=age_s)
    return Lease(
        metadata=ObjectMeta(
            name=name, namespace="default", labels={labels.WORKER_GROUP: "shop"}, annotations=annotations
        ),
        spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=40, acquire_time=renewed, renew_time=renewed),
    )


def shard(name: str, holder: str | None = None, **more: Any) -> Lease:
    notes = {"incarnation": f"of-{name}", "host": f"host-{name}", "build": "0123456789abcdef", **more}
    return lease(f"kontinue-shard.shop.{name}", name if holder is None else holder, **notes)


def look(
    *found: Lease,
    counts: Mapping[str, Counter[Phase]] | None = None,
    events: tuple[Event, ...] = (),
    names: Mapping[str, str] | None = None,
    book: LeaseBook | None = None,
    now_s: float = 0.0,
) -> GroupView:
    book = book or LeaseBook("shop")
    book.replace(found, now_s)
    counted: dict[GroupKey, Mapping[str, Counter[Phase]]] = {KEY: counts} if counts else {}
    leases = {KEY: found} if found else {}
    [view] = build_views({KEY: book}, leases, counted, events, names or {}, now=NOW, now_s=now_s)
    return view


def lines(view: GroupView, *, wide: bool = False, with_namespace: bool = False) -> list[str]:
    text = format_views([view], NOW, wide=wide, with_namespace=with_namespace)
    return [" ".join(line.split()) for line in text.split("\n")]


def test_a_sharded_group_shows_each_shard_the_leader_and_what_waits() -> None:
    """Counts by phase; what has no shard yet, or one that no Lease belongs to, has a line of its own."""
    found = [lease(LEADER, "w-0", incarnation="of-w-0", host="host-w-0"), shard("w-1", draining="true"), shard("w-0")]
    counts = {
        "w-0": Counter({Phase.EXECUTING: 2, Phase.SUSPENDED: 3}),
        "": Counter({Phase.PENDING: 4}),
        "typo": Counter({Phase.PENDING: 1}),
    }
    assert lines(look(*found, counts=counts)) == [
        "Group shop: 2 shards, led by w-0 on host-w-0, renewed 3s ago",
        "SHARD STATE LEADER RENEWED PENDING EXECUTING SUSPENDED BACKOFF BLOCKED HOST BUILD",
        "w-0 Live * 3s ago 0 2 3 0 0 host-w-0 0123456789a…",
        "w-1 Draining 3s ago 0 0 0 0 0 host-w-1 0123456789a…",
        "- Unassigned 4 0 0 0 0",
        "typo Unknown 1 0 0 0 0",
    ]


def test_shards_without_a_replica_say_how_it_ended() -> None:
    """They are not counted, and lead nothing."""
    found = [shard("dead", "", expired_by="of-w-0"), shard("gone", ""), shard("w-0")]
    view = look(lease(LEADER, "", incarnation="of-gone"), *found)
    assert [(one.shard, one.state, one.is_leader) for one in view.shards] == [
        ("dead", "Expired", False),
        ("gone", "Released", False),
        ("w-0", "Live", False),
    ]
    assert lines(view)[0] == "Group shop: 1 shard, nobody leads"


def test_an_old_renewal_is_overdue_and_no_verdict() -> None:
    """Its clock may be wrong: whoever has seen the Lease once knows no more. Who goes on looking does."""
    silent = shard("w-0", age_s=90)
    book = LeaseBook("shop")
    assert "w-0 Live 90s ago, overdue" in lines(look(silent, book=book))[2]
    assert "w-0 Silent 90s ago" in lines(look(silent, book=book, now_s=41.0))[2]


def test_a_group_that_is_not_sharded_says_who_runs_it() -> None:
    """Labels of earlier shards mean nothing then."""
    held = lease(LEADER, "web-1", incarnation="i")
    assert lines(look(held)) == ["Group shop: not sharded, web-1 runs all of it, renewed 3s ago"]
    counted = lines(look(held, counts={"": Counter({Phase.EXECUTING: 1})}))
    assert counted[2] == "- - 0 1 0 0 0"
    assert lines(look(counts={"": Counter({Phase.PENDING: 1})}))[0] == "Group shop: nobody runs it"


def test_a_group_whose_replicas_have_stopped_is_run_by_nobody() -> None:
    """A Lease that was given back still names the host of its last holder."""
    free = lease(LEADER, "", host="vm")
    assert lines(look(free))[0] == "Group shop: nobody runs it"
    assert lines(look(free, shard("w-0", holder="")))[0] == "Group shop: 0 shards, nobody leads"


def test_shards_wait_while_a_replica_without_sharding_leads() -> None:
    """As while sharding is switched on."""
    held = lease(LEADER, "web-1", incarnation="i")
    told = "Group shop: web-1, which is not sharded, runs all of it, renewed 3s ago; 1 shard in waiting"
    assert lines(look(held, shard("w-0")))[0] == told


def test_wide_shows_leases_and_who_holds_mutexes() -> None:
    """By name where the Execution is known."""
    printer = lease("kontinue-mutex.shop.printer-1a2b", "uid-1", age_s=5, mutex="printer/1")
    mutexes = [printer, lease("kontinue-mutex.shop.free", "")]
    found = [shard("w-0", pid="7", pod_uid="p-1"), *mutexes]
    view = look(*found, names={"uid-1": "print-1"})
    wide = lines(view, wide=True, with_namespace=True)
    assert wide[0].startswith("Group default/shop: 1 shard")
    assert "0123456789abcdef 7 p-1 of-w-0 3s 40s kontinue-shard.shop.w-0" in wide[2]
    assert wide[-2:] == ["MUTEX HOLDER HELD-FOR", "printer/1 print-1 5s"]
    assert not any("printer" in line for line in lines(view))


def test_the_last_events_of_the_groups_leases_are_shown() -> None:
    """Not those of other groups, and not all."""

    def event(name: str, number: int) -> Event:
        about = ObjectReference(kind="Lease", name=name)
        at = NOW - timedelta(seconds=number)
        return Event(
            metadata=ObjectMeta(namespace="default"), involved_object=about, reason="R", message=f"m{number}",
            last_timestamp=at,
        )  # fmt: skip

    events = tuple(event(LEADER, number) for number in range(1, 9))
    view = look(lease(LEADER, "w"), events=(*events, event("kontinue-leader.other", 0)))
    assert [one.message for one in view.events] == ["m5", "m4", "m3", "m2", "m1"]
    assert lines(view)[-2:] == ["2s R m2", "1s R m1"]


def test_leases_of_others_belong_to_no_group() -> None:
    """Every controller of a cluster has some."""
    assert group_of(ObjectMeta(name="kube-scheduler", namespace="kube-system")) is None


def test_tables_fit_the_terminal() -> None:
    """Without one they are as wide as they get."""
    host = "host-of-a-cluster-whose-names-are-long.example"
    event = Event(
        metadata=ObjectMeta(name="e", namespace="default"),
        involved_object=ObjectReference(name=LEADER),
        reason="LeaderElected",
        message="a message that is long enough for two lines of a terminal, and then goes on " * 2,
    )
    view = look(lease(LEADER, "w-0", incarnation="of-w-0"), shard("w-0", host=host), events=(event,))
    narrow = format_views([view], NOW, wide=False, with_namespace=False, width=120).splitlines()[1:]
    assert max(map(len, narrow)) <= 120
    whole = format_views([view], NOW, wide=False, with_namespace=False)
    assert host in whole
    assert event.message.strip() in whole
