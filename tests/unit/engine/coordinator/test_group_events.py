"""What Events say about the moves off dead shards, and how many they are."""

import pytest

from kontinue_engine.coordinator.group_events import AT_LATEST_S, FEW, QUIET_S, TARGETS, Moves, Summary
from kontinue_engine.sharding.assignment import Orphan
from kontinue_engine.sharding.placement import STRAYS, Move


def move(number: int, *, off: str = "b", to: str = "a", lost_by: str = "incarnation") -> Move:
    name = f"e{number}"
    orphan = Orphan(uid=name, name=name, version="1", shard=off, lost_by=lost_by)
    return Move(name, name, "1", shard=to, orphan=orphan)


@pytest.mark.parametrize(
    ("moved", "text"),
    [
        (move(1), "moved from b to a: b is dead"),
        (move(1, lost_by=""), "moved from b to a: b has stopped"),
        (move(1, off=STRAYS, lost_by=""), "moved to a: no replica has the shard of that label"),
    ],
)
def test_a_move_says_where_from_where_to_and_why(moved: Move, text: str) -> None:
    """On the Execution, as long as moves are few."""
    assert Moves().add(moved, 0.0) == text


def test_an_assignment_of_a_new_execution_is_not_told() -> None:
    """It is what always happens."""
    moves = Moves()
    assert moves.add(Move("u", "n", "1", shard="a"), 0.0) is None
    assert moves.take(100.0) == []


def test_many_moves_are_told_by_counts() -> None:
    """100,000 Executions of one shard cost a few Events of their own, and one a minute."""
    moves = Moves()
    own = [moves.add(move(number, to=f"s{number % 8}"), number / 100) for number in range(1000)]
    assert len([message for message in own if message]) == FEW
    assert moves.take(9.99 + QUIET_S - 0.1) == []
    told = moves.take(10.0 + QUIET_S)
    named = ", ".join(f"s{number} (125)" for number in range(TARGETS))
    assert told == [Summary("b", f"1000 Executions moved to {named} and 3 more: b is dead")]
    assert moves.take(1000.0) == []


def test_moves_that_go_on_are_told_meanwhile() -> None:
    """Nobody should have to wait for the end of it."""
    moves = Moves()
    for second in range(int(AT_LATEST_S) + 1):
        moves.add(move(second), float(second))
        told = moves.take(float(second))
        assert bool(told) == (second >= AT_LATEST_S)


def test_each_shard_is_told_alone_and_the_rest_at_the_end() -> None:
    """A leader that stops says what it has done."""
    moves = Moves()
    moves.add(move(1), 0.0)
    moves.add(move(2, off="c", lost_by=""), 4.0)
    assert moves.take(QUIET_S) == [Summary("b", "1 Execution moved to a (1): b is dead")]
    assert moves.take(QUIET_S, all_of_them=True) == [Summary("c", "1 Execution moved to a (1): c has stopped")]
