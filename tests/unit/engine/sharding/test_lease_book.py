"""What an observer concludes from Leases that it watches."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from call_counts import calls_in
from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.lease_book import GONE, LeaseBook, ShardState

START = datetime(2026, 1, 1, tzinfo=UTC)


def shard(name="a", *, holder=None, renewed=0, prefix="kontinue-shard.g.", label="", **notes):
    """Return a shard's Lease; ``renewed`` counts renewals."""
    annotations = {labels.INCARNATION: "i1"} | {getattr(labels, key.upper()): value for key, value in notes.items()}
    return Lease(
        metadata=ObjectMeta(name=prefix + name, annotations=annotations, labels={"note": label}),
        spec=LeaseSpec(
            holder_identity=name if holder is None else holder,
            lease_duration_seconds=40,
            renew_time=START + timedelta(seconds=renewed),
        ),
    )


def state_of(book, now_s, name="a"):
    return {one.name: one.state for one in book.shards(now_s)}.get(name)


@pytest.mark.parametrize(
    ("lease", "age_s", "state"),
    [
        pytest.param(shard(), 0, ShardState.LIVE, id="just seen"),
        pytest.param(shard(), 40, ShardState.LIVE, id="at the very end of its duration"),
        pytest.param(shard(), 40.1, ShardState.SILENT, id="not renewed for its whole duration"),
        pytest.param(shard(draining="true"), 0, ShardState.DRAINING, id="about to stop"),
        pytest.param(shard(draining="true"), 41, ShardState.SILENT, id="silent while it was about to stop"),
        pytest.param(shard(holder=""), 0, ShardState.RELEASED, id="given back"),
        pytest.param(shard(holder="", expired_by="i2"), 0, ShardState.EXPIRED, id="taken away"),
        pytest.param(shard(holder="", expired_by="i2"), 999, ShardState.EXPIRED, id="taken away long ago"),
        pytest.param(shard(holder="", draining="true"), 0, ShardState.RELEASED, id="given back after draining"),
    ],
)
def test_a_shard_is_what_its_lease_says_and_how_long_it_has_been_silent(lease, age_s, state):
    """Live, draining, silent, or gone."""
    book = LeaseBook("g")
    book.observe(lease, 100)
    (found,) = book.shards(100 + age_s)
    assert (found.name, found.state, found.lease, found.incarnation) == ("a", state, lease, "i1")
    assert found.silent_for_s == pytest.approx(age_s)
    assert (state in GONE) == (not lease.spec.holder_identity)


def test_silence_is_counted_from_our_own_first_sight():
    """However old the time in it is: clocks of two machines are never compared."""
    book = LeaseBook("g")
    book.observe(shard(renewed=-100_000), 0)
    assert state_of(book, 39) is ShardState.LIVE


@pytest.mark.parametrize(
    ("change", "is_sign_of_life"),
    [
        pytest.param({"renewed": 1}, True, id="renewed"),
        pytest.param({"renewed": -3600}, True, id="renewed by a clock that was set back"),
        pytest.param({"holder": "b"}, True, id="another holder"),
        pytest.param({"incarnation": "i2"}, True, id="another incarnation"),
        pytest.param({}, False, id="seen twice"),
        pytest.param({"label": "edited"}, False, id="a label edited by somebody"),
        pytest.param({"host": "elsewhere"}, False, id="an annotation edited by somebody"),
    ],
)
def test_only_what_a_holder_changes_is_a_sign_of_life(change, is_sign_of_life):
    """Whoever edits labels must not keep a dead shard alive."""
    book = LeaseBook("g")
    book.observe(shard(), 0)
    book.observe(shard(**change), 30)
    assert state_of(book, 50) is (ShardState.LIVE if is_sign_of_life else ShardState.SILENT)
    sighting = book.get("kontinue-shard.g.a")
    assert sighting is not None
    assert sighting.lease == shard(**change)


def test_shards_are_told_by_name_and_other_leases_are_not_shards():
    """Those of leadership, of mutexes and of other groups are known, but no shards."""
    book = LeaseBook("g")
    for lease in (
        shard("b"),
        shard("a"),
        shard("g", prefix="kontinue-leader."),
        shard("m", prefix="kontinue-mutex.g."),
        shard("x", prefix="kontinue-shard.h."),
    ):
        book.observe(lease, 0)
    assert [one.name for one in book.shards(0)] == ["a", "b"]
    assert book.get("kontinue-leader.g") is not None


def test_a_list_replaces_what_was_known_but_not_since_when():
    """A watch that had to start anew must not give the dead new life."""
    book = LeaseBook("g")
    book.replace([shard("a"), shard("b")], 0)
    book.replace([shard("a", holder=""), shard("b"), shard("c")], 30)
    book.replace([shard("b"), shard("c")], 30)
    assert [(one.name, one.silent_for_s) for one in book.shards(50)] == [("b", 50), ("c", 20)]
    assert [one.state for one in book.shards(50)] == [ShardState.SILENT, ShardState.LIVE]


MUTEX = Lease(metadata=ObjectMeta(name="kontinue-mutex.g.m"), spec=LeaseSpec(holder_identity="uid"))


@pytest.mark.parametrize(
    "lease",
    [
        pytest.param(shard(holder=""), id="given back before"),
        pytest.param(shard(holder="", expired_by="i2"), id="taken away before"),
        pytest.param(MUTEX, id="a mutex: that is how it is freed"),
    ],
)
def test_a_deleted_lease_that_no_replica_held_is_forgotten(lease):
    """Twice does no harm; who comes back under that name is new."""
    book = LeaseBook("g")
    book.observe(lease, 0)
    for _ in range(2):
        book.forget(lease.metadata.name)
    assert book.get(lease.metadata.name) is None
    assert (book.shards(0), book.incarnations(0)) == ([], frozenset())


def test_mutexes_cost_nothing_where_shards_are_looked_at():
    """The leader looks after each write, and there may be a mutex for each customer."""
    book = LeaseBook("g")
    book.observe(shard(), 0)
    costs = [calls_in(look, 1) for look in (book.shards, book.incarnations)]
    for number in range(1000):
        book.observe(Lease(metadata=ObjectMeta(name=f"kontinue-mutex.g.m-{number}"), spec=MUTEX.spec), 0)
    assert [calls_in(look, 1) for look in (book.shards, book.incarnations)] == costs


def test_a_mutex_is_known_until_its_lease_is_deleted():
    """Replicas look at it before they run what it names."""
    book = LeaseBook("g")
    for _ in range(2):
        book.replace([shard(), MUTEX], 0)
        sighting = book.get("kontinue-mutex.g.m")
        assert sighting is not None
        assert sighting.lease == MUTEX
    book.replace([shard()], 0)
    assert (book.get("kontinue-mutex.g.m"), book.get("kontinue-shard.g.a") is None) == (None, False)


@pytest.mark.parametrize("by", ["event", "list"])
def test_a_replica_whose_lease_was_deleted_by_hand_counts_until_its_lease_would_have_run_out(by):
    """It may not know yet: nobody may start what it runs."""
    book = LeaseBook("g")
    book.observe(shard(), 100)
    if by == "event":
        book.forget("kontinue-shard.g.a")
    else:
        book.replace([], 110)
    assert state_of(book, 140) is ShardState.MISSING
    assert ShardState.MISSING not in GONE
    assert book.incarnations(140) == {"i1"}
    sighting = book.get("kontinue-shard.g.a")
    assert sighting is not None
    assert sighting.is_missing
    assert state_of(book, 140.1) is None
    assert book.incarnations(140.1) == frozenset()
    assert book.get("kontinue-shard.g.a") is None


@pytest.mark.parametrize("incarnation", ["i1", "i2"])
def test_a_lease_that_was_deleted_and_made_again_is_as_any_other(incarnation):
    """By its holder or by its successor."""
    book = LeaseBook("g")
    book.observe(shard(), 0)
    book.forget("kontinue-shard.g.a")
    book.observe(shard(incarnation=incarnation, renewed=1), 10)
    assert state_of(book, 50) is ShardState.LIVE
    assert book.incarnations(50) == {incarnation}
    sighting = book.get("kontinue-shard.g.a")
    assert sighting is not None
    assert not sighting.is_missing


def test_a_shard_whose_last_holder_wrote_nothing_of_itself_has_no_incarnation():
    """For example one written by kubectl."""
    bare = msgspec.structs.replace(shard(), metadata=ObjectMeta(name="kontinue-shard.g.a"))
    book = LeaseBook("g")
    book.observe(bare, 0)
    assert [one.incarnation for one in book.shards(0)] == [""]


def test_who_holds_a_lease_lives_until_somebody_expires_it():
    """Also when it is silent; who has released its Lease, or lost it, does not. A mutex is held by no replica."""
    book = LeaseBook("g")
    book.replace([shard("a"), shard("b", incarnation="i2", holder=""), shard("c", incarnation="i3"), MUTEX], 0)
    assert book.incarnations(100) == {"i1", "i3"}
