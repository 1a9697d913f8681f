"""Whose turn it is after a restart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.controllers.backlog import Backlog


def test_no_more_are_admitted_than_there_is_room_for() -> None:
    """First come, first admitted, per colour."""
    backlog = Backlog({"sync": 2, "async": 1})
    for uid in ("a", "b", "c"):
        backlog.add(uid, "sync")
    backlog.add("x", "async")
    assert backlog.admit() == ["a", "b", "x"]
    assert backlog.admit() == []
    backlog.release("a")
    assert backlog.admit() == ["c"]


def test_waiting_twice_gives_one_turn() -> None:
    """Every reconcile asks again."""
    backlog = Backlog({"sync": 2})
    for _ in range(3):
        backlog.add("a", "sync")
    assert backlog.admit() == ["a"]
    backlog.add("a", "sync")
    assert backlog.admit() == []


def test_one_that_is_gone_takes_no_turn() -> None:
    """It was canceled or deleted while it waited."""
    backlog = Backlog({"sync": 1})
    backlog.add("a", "sync")
    backlog.add("b", "sync")
    backlog.release("a")
    assert backlog.admit() == ["b"]


@given(st.lists(st.tuples(st.sampled_from(["add", "release", "admit"]), st.sampled_from("abcdef"))))
def test_the_window_is_never_exceeded_and_everybody_gets_a_turn(actions: list[tuple[str, str]]) -> None:
    """Whatever the order of events."""
    backlog = Backlog({"sync": 2})
    inside: set[str] = set()
    for action, uid in actions:
        if action == "add":
            backlog.add(uid, "sync")
        elif action == "release":
            backlog.release(uid)
            inside.discard(uid)
        else:
            inside.update(backlog.admit())
        assert len(inside) <= 2
    for uid in list(inside):
        backlog.release(uid)
    backlog.add("z", "sync")
    seen: set[str] = set()
    while admitted := backlog.admit():
        seen.update(admitted)
        for uid in admitted:
            backlog.release(uid)
    assert "z" in seen
