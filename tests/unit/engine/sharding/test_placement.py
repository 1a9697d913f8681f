"""The leader's placement of Executions, one situation at a time; see also the random worlds."""

import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.assignment import Allowance, Orphan
from kontinue_engine.sharding.lease_book import Shard, ShardState
from kontinue_engine.sharding.placement import (
    KEEP_LEASES_S,
    RETRY_S,
    STRAYS,
    Expire,
    Found,
    Move,
    Newcomer,
    Placement,
    RemoveLease,
    Sweep,
)

LIVE, DRAINING, MISSING, SILENT, RELEASED, EXPIRED = ShardState
DELAY_S = 40.0


def shard(name, state=LIVE, *, silent_for_s=0.0, incarnation="i1", version="1"):
    lease = Lease(
        metadata=ObjectMeta(
            name=f"kontinue-shard.g.{name}", resource_version=version, annotations={labels.INCARNATION: incarnation}
        ),
        spec=LeaseSpec(holder_identity="" if state in (RELEASED, EXPIRED) else name),
    )
    return Shard(name=name, state=state, lease=lease, silent_for_s=silent_for_s)


def placement(me="a", *, per_s=1000.0, burst=1000, at_a_time=64):
    return Placement(me, parked_delay_s=DELAY_S, allowance=Allowance(per_s=per_s, burst=burst), at_a_time=at_a_time)


def newcomer(uid="u1", *, version="1", mutex=""):
    return Newcomer(uid=uid, name=f"e-{uid}", version=version, mutex=mutex)


def found(uid="u1", *, shard="dead", version="1", mutex="", wakes_in_s=0.0):
    return Found(
        orphan=Orphan(uid=uid, name=f"e-{uid}", version=version, shard=shard, mutex=mutex), wakes_in_s=wakes_in_s
    )


def of(kind, commands):
    return [command for command in commands if isinstance(command, kind)]


def moves(subject, shards, now_s=0.0):
    """Return who is to go where now."""
    return {move.uid: move.shard for move in of(Move, subject.plan(shards, now_s))}


def move(subject, shards, now_s=0.0):
    """Return the only move."""
    (command,) = of(Move, subject.plan(shards, now_s))
    return command


def sweep(subject, name, shards, now_s=0.0):
    """Return the sweep of a shard that is to be made now."""
    (command,) = [one for one in of(Sweep, subject.plan(shards, now_s)) if one.shard == name]
    return command


def orphaned(*finds, now_s=0.0, **options):
    """Return a placement that has swept a dead shard."""
    subject = placement(**options)
    subject.swept(sweep(subject, "dead", [shard("a"), shard("dead", EXPIRED)], now_s), finds, now_s)
    return subject


# Executions without a shard.


def test_newcomers_take_turns_among_live_shards():
    """Not among those that are silent, about to stop, missing, or gone."""
    subject = placement()
    for number in range(6):
        subject.observe(newcomer(f"u{number}"))
    shards = [
        shard("a"),
        shard("b", DRAINING),
        shard("c", SILENT),
        shard("d", RELEASED),
        shard("e", EXPIRED),
        shard("f"),
        shard("g", MISSING),
    ]
    assert sorted(moves(subject, shards).values()) == ["a"] * 3 + ["f"] * 3
    assert subject.waiting == 0


@pytest.mark.parametrize("shards", [[], [shard("a", SILENT)], [shard("a", EXPIRED), shard("b", RELEASED)]])
def test_executions_wait_while_no_shard_is_live(shards):
    """Nothing is lost, and they go once there is one."""
    subject = placement()
    subject.observe(newcomer())
    assert (moves(subject, shards), subject.waiting) == ({}, 1)
    assert moves(subject, [shard("b")], 1.0) == {"u1": "b"}


def test_while_all_shards_are_about_to_stop_one_of_them_begins():
    """In a rolling update of one replica there is no other."""
    subject = placement()
    subject.observe(newcomer())
    assert moves(subject, [shard("a", DRAINING)]) == {"u1": "a"}


def test_newcomers_are_handed_out_a_few_at_a_time():
    """Verdicts would wait for all of them; and the next ones go to the shards that live by then."""
    subject = placement(at_a_time=2)
    for number in range(4):
        subject.observe(newcomer(f"u{number}"))
    one, other = of(Move, subject.plan([shard("a")], 0.0))
    assert (moves(subject, [shard("a")]), subject.waiting) == ({}, 2)
    subject.done(one)
    assert moves(subject, [shard("b")]) == {"u2": "b"}
    subject.failed(other, 0.0)
    assert moves(subject, [shard("c")]) == {"u3": "c"}


def test_executions_with_a_mutex_go_to_the_leaders_shard():
    """As the reference says; to any other while that one takes no work."""
    subject = placement(me="b")
    for number in range(3):
        subject.observe(newcomer(f"u{number}", mutex="m"))
    commands = of(Move, subject.plan([shard("a"), shard("b"), shard("c")], 0.0))
    assert [(command.shard, command.mutex) for command in commands] == [("b", "m")] * 3
    subject.observe(newcomer("other", mutex="m"))
    assert moves(subject, [shard("a"), shard("b", DRAINING)]) == {"other": "a"}


def test_a_newcomer_that_is_gone_is_not_placed():
    """It has ended, or somebody has given it a shard."""
    subject = placement()
    subject.observe(newcomer())
    subject.forget("u1")
    subject.forget("unknown")
    assert moves(subject, [shard("a")]) == {}


def test_a_list_replaces_what_was_seen_of_newcomers():
    """Events may have been lost."""
    subject = placement()
    subject.observe(newcomer("old"))
    subject.replace_newcomers([newcomer("new")])
    assert moves(subject, [shard("a")]) == {"new": "a"}


@pytest.mark.parametrize("again", ["observe", "replace_newcomers"])
def test_an_execution_is_not_placed_twice_while_its_move_is_under_way(again):
    """Whatever the watch shows meanwhile: it may be older than the move."""
    subject = placement()
    subject.observe(newcomer())
    first = move(subject, [shard("a")])
    subject.observe(newcomer()) if again == "observe" else subject.replace_newcomers([newcomer()])
    assert moves(subject, [shard("a")]) == {}
    subject.done(first)
    assert moves(subject, [shard("a")]) == {}


def test_an_execution_that_was_changed_while_its_move_was_under_way_is_moved_as_it_is_now():
    """The first move was refused; the watch had shown the new version before that was known, and says no more."""
    subject = placement()
    subject.observe(newcomer())
    first = move(subject, [shard("a")])
    subject.observe(newcomer(version="2"))
    subject.done(first)
    assert move(subject, [shard("a")]).version == "2"


@pytest.mark.parametrize("news", ["forget", "list"])
def test_an_execution_that_was_placed_is_forgotten_even_if_it_was_changed_before(news):
    """The watch shows both, in this order, before the answer comes."""
    subject = placement()
    subject.observe(newcomer())
    first = move(subject, [shard("a")])
    subject.observe(newcomer(version="2"))
    subject.forget("u1") if news == "forget" else subject.replace_newcomers([])
    subject.done(first)
    assert moves(subject, [shard("a")]) == {}


def test_a_placement_that_failed_is_tried_again_a_little_later():
    """Not at once: who fails at once would fail all the time."""
    subject = placement()
    subject.observe(newcomer(mutex="m"))
    subject.failed(move(subject, [shard("a")]), 10.0)
    assert (moves(subject, [shard("a")], 10.0), subject.waiting) == ({}, 1)
    assert moves(subject, [shard("a")], 10.0 + RETRY_S) == {"u1": "a"}


def test_a_placement_that_failed_is_not_tried_again_when_the_watch_knows_more():
    """It has a shard after all, was changed, or is not in the list any more."""
    subject = placement()
    for uid in ("placed", "changed", "listed"):
        subject.observe(newcomer(uid))
    for command in of(Move, subject.plan([shard("a")], 0.0)):
        subject.failed(command, 0.0)
    subject.forget("placed")
    subject.observe(newcomer("changed", version="2"))
    assert [one.version for one in of(Move, subject.plan([shard("a")], 0.0))] == ["2"]
    subject.replace_newcomers([])
    assert moves(subject, [shard("a")], RETRY_S) == {}


def test_a_placement_that_failed_is_tried_as_the_watch_has_shown_it_meanwhile():
    """At once, and once."""
    subject = placement()
    subject.observe(newcomer())
    first = move(subject, [shard("a")])
    subject.observe(newcomer(version="2"))
    subject.failed(first, 0.0)
    assert move(subject, [shard("a")]).version == "2"
    assert moves(subject, [shard("a")], RETRY_S) == {}


# Verdicts.


def test_a_silent_shard_is_judged_once():
    """Its Lease is taken away; what becomes of that is shown by the watch."""
    subject = placement()
    silent = shard("b", SILENT)
    assert of(Expire, subject.plan([shard("a"), silent], 0.0)) == [Expire("b", silent.lease)]
    assert of(Expire, subject.plan([shard("a"), silent], 0.0)) == []
    subject.done(Expire("b", silent.lease))
    assert of(Expire, subject.plan([shard("a"), silent], 999.0)) == []


def test_a_shard_that_falls_silent_again_is_judged_again():
    """It had renewed after the first verdict, which was refused therefore."""
    subject = placement()
    subject.plan([shard("b", SILENT)], 0.0)
    subject.plan([shard("b", version="2")], 1.0)
    assert of(Expire, subject.plan([shard("b", SILENT, version="2")], 50.0)) != []


def test_a_silent_shard_whose_lease_was_edited_is_judged_as_it_is_now():
    """The first verdict will be refused, though its holder is as dead as before."""
    subject = placement()
    first, edited = shard("b", SILENT), shard("b", SILENT, version="2")
    subject.plan([first], 0.0)
    assert of(Expire, subject.plan([edited], 0.0)) == [Expire("b", edited.lease)]
    subject.failed(Expire("b", first.lease), 0.0)
    assert of(Expire, subject.plan([edited], RETRY_S)) == []


def test_a_verdict_that_failed_is_repeated_a_little_later():
    """The server was away, say."""
    subject = placement()
    silent = shard("b", SILENT)
    subject.plan([silent], 0.0)
    subject.failed(Expire("b", silent.lease), 0.0)
    assert of(Expire, subject.plan([silent], RETRY_S / 2)) == []
    assert of(Expire, subject.plan([silent], RETRY_S)) != []


# Shards without a replica.


def test_a_shard_that_is_gone_is_swept_and_what_can_run_is_moved():
    """With the version that was found, and with what was found."""
    subject = orphaned(found(version="7"))
    command = move(subject, [shard("a"), shard("dead", EXPIRED)])
    assert (command.uid, command.version, command.shard) == ("u1", "7", "a")
    assert command.orphan == found(version="7").orphan


@pytest.mark.parametrize("state", [LIVE, DRAINING, MISSING, SILENT])
def test_nothing_is_moved_off_a_shard_that_has_a_replica(state):
    """Not even while it is silent: only the verdict proves that it is dead."""
    subject = orphaned(found())
    assert moves(subject, [shard("a"), shard("dead", state, incarnation="i2")]) == {}
    assert subject.waiting == 0


@pytest.mark.parametrize(
    ("wakes_in_s", "silent_for_s", "due_s"),
    [
        pytest.param(0.0, 0.0, 0.0, id="can run"),
        pytest.param(None, 0.0, 40.0, id="waits"),
        pytest.param(None, 30.0, 10.0, id="waits, and its shard has been gone for long"),
        pytest.param(None, 90.0, 0.0, id="waits, and the delay is over"),
        pytest.param(15.0, 0.0, 15.0, id="wakes before the delay is over"),
        pytest.param(15.0, 20.0, 15.0, id="wakes a little before the delay is over"),
        pytest.param(15.0, 30.0, 10.0, id="the delay is over before it wakes"),
    ],
)
def test_what_only_waits_is_left_for_a_while_to_a_replica_that_may_come_back(wakes_in_s, silent_for_s, due_s):
    """One Lease duration from the end of the shard: a replica that returns under its name costs nothing then."""
    subject = placement()
    shards = [shard("a"), shard("dead", EXPIRED, silent_for_s=silent_for_s)]
    subject.swept(sweep(subject, "dead", shards, 100.0), [found(wakes_in_s=wakes_in_s)], 100.0)
    if due_s:
        assert moves(subject, shards, 100.0 + due_s - 0.5) == {}
        assert subject.next_look_s(100.0 + due_s - 0.5) == 0.5
    assert moves(subject, shards, 100.0 + due_s) == {"u1": "a"}


def test_what_is_woken_is_moved_at_once():
    """Its child has ended, say."""
    subject = orphaned(found(wakes_in_s=None))
    subject.wake("u1")
    assert moves(subject, [shard("a"), shard("dead", EXPIRED)]) == {"u1": "a"}


def test_orphans_wait_while_no_shard_is_live_and_nobody_looks_all_the_time():
    """Then they go."""
    subject = orphaned(found())
    shards = [shard("a", SILENT), shard("dead", EXPIRED)]
    assert (moves(subject, shards), subject.next_look_s(0.0), subject.waiting) == ({}, RETRY_S, 1)
    assert moves(subject, [shard("a"), shard("dead", EXPIRED)], 1.0) == {"u1": "a"}


def test_orphans_with_a_mutex_go_to_the_leaders_shard():
    """Like newcomers."""
    subject = orphaned(*(found(f"u{number}", mutex="m") for number in range(4)), me="b")
    shards = [shard("a"), shard("b"), shard("dead", EXPIRED)]
    assert set(moves(subject, shards).values()) == {"b"}


def test_relabels_follow_each_other_no_faster_than_allowed():
    """What is due waits for the next allowance, and the leader is told when that is."""
    subject = orphaned(*(found(f"u{number}") for number in range(5)), per_s=2.0, burst=2)
    shards = [shard("a"), shard("dead", EXPIRED)]
    assert (len(moves(subject, shards)), subject.next_look_s(0.0)) == (2, 0.5)
    assert len(moves(subject, shards, 0.5)) == 1
    assert len(moves(subject, shards, 100.0)) == 2
    assert subject.next_look_s(100.0) == RETRY_S


def test_orphans_are_handed_out_a_few_at_a_time_and_keep_no_newcomer_waiting():
    """A slow API server would get more and more of them, and nobody looks all the time for room."""
    subject = orphaned(*(found(f"u{number}") for number in range(5)), at_a_time=2)
    subject.observe(newcomer("new"))
    shards = [shard("a"), shard("dead", EXPIRED)]
    first, *others = of(Move, subject.plan(shards, 0.0))
    assert (first.uid, len(others), subject.next_look_s(0.0)) == ("new", 2, RETRY_S)
    assert moves(subject, shards) == {}
    subject.done(others[0])
    assert (subject.next_look_s(0.0), len(moves(subject, shards)), subject.next_look_s(0.0)) == (0.0, 1, RETRY_S)


def test_newcomers_need_no_allowance():
    """They would wait for nothing: each is written once in any case."""
    subject = placement(per_s=1.0, burst=1)
    for number in range(5):
        subject.observe(newcomer(f"u{number}"))
    assert len(moves(subject, [shard("a")])) == 5


def test_a_shard_is_swept_again_when_all_that_was_found_has_been_moved():
    """A move may have been refused, because somebody has changed the Execution; a child may have come late."""
    subject = orphaned(found("u1"), found("u2"))
    shards = [shard("a"), shard("dead", EXPIRED)]
    one, other = of(Move, subject.plan(shards, 0.0))
    subject.done(one)
    assert of(Sweep, subject.plan(shards, 0.0)) == []
    subject.done(other)
    again = sweep(subject, "dead", shards)
    subject.swept(again, [], 0.0)
    assert of(Sweep, subject.plan(shards, 0.0)) == []


def test_a_move_that_failed_is_found_again_by_the_next_sweep():
    """A little later."""
    subject = orphaned(found())
    shards = [shard("a"), shard("dead", EXPIRED)]
    subject.failed(move(subject, shards), 0.0)
    assert of(Sweep, subject.plan(shards, 0.0)) == []
    subject.swept(sweep(subject, "dead", shards, RETRY_S), [found(version="2")], RETRY_S)
    assert move(subject, shards, RETRY_S).version == "2"


def test_a_sweep_that_failed_is_made_again_a_little_later():
    """The server was away, say."""
    subject = placement()
    shards = [shard("a"), shard("dead", RELEASED)]
    subject.failed(sweep(subject, "dead", shards), 0.0)
    assert of(Sweep, subject.plan(shards, 0.0)) == []
    assert sweep(subject, "dead", shards, RETRY_S) == Sweep("dead")


def test_a_sweep_of_a_shard_that_has_come_back_is_ignored():
    """Its replica has all of that."""
    subject = placement()
    late = sweep(subject, "dead", [shard("a"), shard("dead", EXPIRED)])
    subject.plan([shard("a"), shard("dead", incarnation="i2")], 1.0)
    subject.swept(late, [found()], 1.0)
    subject.failed(late, 1.0)
    assert moves(subject, [shard("a"), shard("dead", incarnation="i2")], 1.0) == {}


def test_a_shard_that_has_come_and_gone_again_unseen_is_swept_anew():
    """Between two looks; it may have got something meanwhile, and the delay begins again."""
    subject = orphaned(found(wakes_in_s=None))
    shards = [shard("a"), shard("dead", RELEASED, incarnation="i2")]
    again = sweep(subject, "dead", shards, 30.0)
    subject.swept(again, [found(wakes_in_s=None)], 30.0)
    assert moves(subject, shards, 69.0) == {}
    assert moves(subject, shards, 70.0) == {"u1": "a"}


def test_a_move_of_a_former_life_does_not_disturb_the_sweeps_of_the_next():
    """The shard came back and died again while it was under way."""
    subject = orphaned(found("old"))
    old = move(subject, [shard("a"), shard("dead", EXPIRED)])
    shards = [shard("a"), shard("dead", EXPIRED, incarnation="i2")]
    subject.swept(sweep(subject, "dead", shards), [found("new"), found("old")], 0.0)
    new = move(subject, shards)
    subject.done(old)
    assert (new.uid, of(Sweep, subject.plan(shards, 0.0))) == ("new", [])
    subject.done(new)
    assert sweep(subject, "dead", shards) == Sweep("dead")


def test_a_shard_that_has_died_while_something_was_moved_there_is_swept_again():
    """The first sweep may have come too early to see it."""
    subject = placement()
    subject.observe(newcomer())
    late = move(subject, [shard("a"), shard("b")])
    shards = [shard(name, LIVE if name != late.shard else RELEASED) for name in ("a", "b")]
    subject.swept(sweep(subject, late.shard, shards), [], 0.0)
    subject.done(late)
    assert sweep(subject, late.shard, shards) == Sweep(late.shard)


def test_an_orphan_whose_label_somebody_removes_is_placed_once():
    """As a newcomer, whichever of the two is seen first."""
    shards = [shard("a"), shard("dead", EXPIRED)]
    subject = orphaned(found())
    subject.observe(newcomer(version="2"))
    assert move(subject, shards).version == "2"
    subject = placement()
    sweeping = sweep(subject, "dead", shards)
    subject.observe(newcomer(version="2"))
    subject.swept(sweeping, [found()], 0.0)
    assert move(subject, shards).version == "2"


def test_the_lease_of_a_shard_that_has_been_empty_for_long_is_removed():
    """Replicas of a Deployment never come back under their names; until then people see what has happened."""
    subject = orphaned()
    gone = shard("dead", EXPIRED, silent_for_s=KEEP_LEASES_S + 1)
    assert of(RemoveLease, subject.plan([shard("a"), shard("dead", EXPIRED)], KEEP_LEASES_S)) == []
    (removal,) = of(RemoveLease, subject.plan([shard("a"), gone], KEEP_LEASES_S + 1))
    assert removal == RemoveLease("dead", gone.lease)
    subject.failed(removal, KEEP_LEASES_S + 1)
    assert of(RemoveLease, subject.plan([shard("a"), gone], KEEP_LEASES_S + 2)) == []
    (removal,) = of(RemoveLease, subject.plan([shard("a"), gone], 2 * KEEP_LEASES_S + 2))
    subject.done(removal)
    assert of(RemoveLease, subject.plan([shard("a")], 2 * KEEP_LEASES_S + 3)) == []


def test_the_lease_of_a_shard_that_still_has_executions_is_kept():
    """While there is no shard to move them to, say."""
    subject = orphaned(found())
    assert of(RemoveLease, subject.plan([shard("dead", EXPIRED)], 2 * KEEP_LEASES_S)) == []


# Strays.


def test_executions_of_unknown_shards_are_looked_for_and_moved():
    """A shard's name was mistyped, or its Lease was removed; again and again, one delay apart."""
    subject = placement()
    shards = [shard("a"), shard("b", SILENT), shard("dead", EXPIRED)]
    search = sweep(subject, STRAYS, shards)
    assert search == Sweep(STRAYS, ("a", "b", "dead"))
    subject.swept(search, [found(shard=STRAYS)], 0.0)
    assert moves(subject, shards) == {"u1": "a"}
    assert STRAYS not in [one.shard for one in of(Sweep, subject.plan(shards, DELAY_S - 1))]
    assert STRAYS in [one.shard for one in of(Sweep, subject.plan(shards, DELAY_S))]


def test_a_search_for_strays_that_failed_is_made_again():
    """With the next one at the latest."""
    subject = placement()
    subject.failed(sweep(subject, STRAYS, [shard("a")]), 0.0)
    assert sweep(subject, STRAYS, [shard("a")], DELAY_S) == Sweep(STRAYS, ("a",))


def test_what_looked_like_a_stray_is_left_to_its_shard_when_that_gets_its_lease():
    """Also when the search was under way then; another one follows at once."""
    subject = placement()
    early = sweep(subject, STRAYS, [shard("a")])
    subject.swept(early, [found("u1", shard=STRAYS, wakes_in_s=None)], 0.0)
    later = sweep(subject, STRAYS, [shard("a"), shard("b")], 1.0)
    assert later == Sweep(STRAYS, ("a", "b"))
    subject.swept(early, [found("u2", shard=STRAYS)], 1.0)
    assert (moves(subject, [shard("a"), shard("b")], 1.0), subject.waiting) == ({}, 0)
    subject.swept(later, [found("u3", shard=STRAYS)], 1.0)
    assert list(moves(subject, [shard("a"), shard("b")], 1.0)) == ["u3"]


def test_what_comes_late_to_a_shard_that_is_long_dead_and_empty_is_found_with_the_strays():
    """A frozen replica wakes up and creates a child, say: nobody would look there any more."""
    subject = placement()
    shards = [shard("a"), shard("dead", EXPIRED)]
    for search in of(Sweep, subject.plan(shards, 0.0)):
        subject.swept(search, [], 0.0)
    search = sweep(subject, STRAYS, shards, DELAY_S)
    assert search.known == ("a", "dead")
    subject.swept(search, [], DELAY_S)
    search = sweep(subject, STRAYS, shards, 2 * DELAY_S)
    assert search.known == ("a",)
    subject.swept(search, [found(shard=STRAYS)], 2 * DELAY_S)
    assert moves(subject, shards, 2 * DELAY_S) == {"u1": "a"}
