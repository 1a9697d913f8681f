"""What an Execution that sleeps takes, and that all of it comes back when somebody asks."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kontinue.api.v1alpha1 import Execution
from kontinue_engine.controllers.entries import Entry, EntryStore, Rest
from kontinue_engine.kube.open_suspensions import OpenSuspensions, SuspensionView
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.observed import Activation, Lost, News
from virtual_time import virtual_time

SLEEPERS = 500
GOAL_BYTES = 2048
COLLECTIONS = ("children", "asked_children", "unwanted", "timers", "polls", "suspensions", "jobs", "unwanted_jobs")


def sleeping(name: str) -> bytes:
    return b"""{
        "metadata": {
            "name": "%(name)b",
            "uid": "116f6f0a-4765-473a-ad85-%(name)b",
            "resourceVersion": "842",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kontinue.cloud/worker-group": "g", "kontinue.cloud/function": "f"},
            "annotations": {"kontinue.cloud/spawn-nonce": "000f291f1196f2b9e2693db5%(name)b"}
        },
        "spec": {"function": "f", "arguments": {"id": "%(name)b"}, "retry": {"retries": 3}},
        "status": {
            "phase": "Suspended",
            "owner": {"shard": "w-0", "incarnation": "41df541d3d8e", "epoch": 1},
            "state": {"build": "b", "records": [{"id": "0", "seq": 1, "value": 7}], "timers": {"1": 1767225600000}},
            "attempts": [{"number": 1, "startedAt": "2026-01-01T00:00:00.133000Z", "worker": "w-0"}],
            "attemptCount": 1,
            "startedAt": "2026-01-01T00:00:00.133000Z",
            "waitingFor": [
                {"kind": "Suspension", "name": "%(name)b-1-aj5o4nnqu5", "until": "2026-03-01T00:00:00.953000Z"}
            ]
        }
    }""" % {b"name": name.encode()}


def suspension(name: str) -> bytes:
    return b"""{
        "metadata": {
            "name": "%(name)b-1-aj5o4nnqu5",
            "resourceVersion": "843",
            "ownerReferences": [
                {"apiVersion": "v", "kind": "Execution", "name": "e", "uid": "116f6f0a-4765-473a-ad85-%(name)b"}
            ]
        },
        "spec": {"kind": "Sleep", "resumeAt": "2026-03-01T00:00:00.953000Z"}
    }""" % {b"name": name.encode()}


decode = msgspec.json.Decoder(Execution).decode
decode_suspension = msgspec.json.Decoder(SuspensionView).decode


def entry(name: str = "sleeper-0000") -> Entry:
    """Return one that was found, as ``controllers.observation`` makes it."""
    found = Entry(decode(sleeping(name)), inherited=True)
    found.memo = parse_memo(found.status.state, found.status.memo_pages)
    return found


def content(one: Entry) -> dict[str, Any]:
    names = [name for name in Entry.__slots__ if name != "folded"]
    return {name: getattr(one, name) for name in names}


@virtual_time
async def test_a_sleeper_takes_less_than_two_kibibytes() -> None:
    """With what is known of its Suspension, and the time when somebody is to look at that."""
    store, suspensions, queue = EntryStore(), OpenSuspensions(), WorkQueue[str]()

    def take(name: str) -> None:
        suspensions.on_event("ADDED", decode_suspension(suspension(name)))
        found = entry(name)
        store.add(found)
        found.fold()
        queue.add_after(name, 1000)

    take("warm-up-0000")
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(SLEEPERS):
            take(f"sleeper-{number:04}")
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == queue.delayed == SLEEPERS + 1
    assert taken / SLEEPERS < GOAL_BYTES
    queue.forget("warm-up-0000")


def test_what_was_folded_comes_back_as_it_was() -> None:
    """Every attribute, whichever is asked for first."""
    known = entry()
    for asked in Entry.__slots__:
        if asked != "folded":
            one = entry()
            one.fold()
            assert one.is_folded
            assert getattr(one, asked) == getattr(known, asked)
            assert content(one) == content(known)
            assert not one.is_folded


def test_a_folded_one_is_found_and_compared_without_being_unfolded() -> None:
    """By name and uid, by its version, and whether something of it runs."""
    store, one = EntryStore(), entry()
    store.add(one)
    one.rest = Rest.DORMANT
    one.fold()
    assert store.get(one.uid) is store.by_name(one.name) is one
    assert one in store
    assert (one.version, one.is_active, one.is_losing, one.is_folded) == ("842", False, False, True)


def test_what_is_noted_of_it_stays() -> None:
    """Collections that are not empty are not put away, and nothing is shared between two of them."""
    one, other = entry("one-00000000"), entry("other-000000")
    one.unwanted.add("child")
    one.awaited = frozenset({"child"})
    for each in (one, other):
        each.fold()
    other.children["more"] = "2"
    assert (one.unwanted, one.awaited, one.children) == ({"child"}, {"child"}, {})
    assert (other.unwanted, other.awaited, other.children) == (set(), frozenset(), {"more": "2"})


def test_nothing_is_put_away_of_one_that_something_goes_on_with() -> None:
    """What comes of it would have to be told to something that is not there."""

    def is_running(one: Entry) -> None:
        one.activation = Activation(number=1)

    def is_written(one: Entry) -> None:
        one.writing = News()

    def has_changed(one: Entry) -> None:
        one.deferred = decode(sleeping(one.name))

    def has_news(one: Entry) -> None:
        one.news = News(lost=Lost(was_active=False, was_alone=False, reason="", message=""))

    def has_another_memo(one: Entry) -> None:
        one.memo = msgspec.structs.replace(one.memo, build="other")

    changes: list[Callable[[Entry], None]] = [is_running, is_written, has_changed, has_news, has_another_memo]
    for change in changes:
        one = entry()
        change(one)
        one.fold()
        assert not one.is_folded, change


def test_folding_twice_and_unfolding_twice_is_as_once() -> None:
    """Nobody has to know how it is."""
    one = entry()
    one.unfold()
    one.fold()
    one.fold()
    one.unfold()
    one.unfold()
    assert content(one) == content(entry())


def test_a_name_that_no_entry_has_is_an_error_as_ever() -> None:
    """Folded or not."""
    one = entry()
    one.fold()
    for _ in range(2):
        with pytest.raises(AttributeError):
            getattr(one, "colour")  # noqa: B009 - type checkers know better
