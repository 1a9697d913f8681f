from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.pool.dispatch import (
    MAX_UNSTARTED,
    PREFETCH_S,
    RECHECK_S,
    Assignment,
    RunnerLoad,
    Running,
    Unstarted,
    next_estimate,
    plan_dispatch,
)

NOW_S = 100.0
ESTIMATES = {"trivial": 0.0001, "short": 0.05, "long": 5.0}


def _load(runner: int, *, running: str = "", unstarted: str = "", parked: int = 0, ran_s: float = 0.0) -> RunnerLoad:
    """Build a sync runner's load from function names; what it has unstarted is numbered from 100 * runner."""
    return RunnerLoad(
        runner,
        1,
        [Running(running, NOW_S - ran_s)] if running else [],
        [Unstarted(100 * runner + n, function) for n, function in enumerate(unstarted.split())],
        parked,
    )


@pytest.mark.parametrize(
    ("queue", "loads", "runners"),
    [
        ("long long long", [_load(1), _load(2)], [1, 2]),
        ("unknown unknown unknown", [_load(1), _load(2)], [1, 2]),
        ("long", [_load(1, parked=9), _load(2, parked=3)], [2]),
        ("short", [_load(1, running="short"), _load(2)], [2]),
        ("short short short", [_load(1, running="short"), _load(2, running="short")], [1, 2]),
        ("trivial", [_load(1, running="long")], []),
        ("trivial", [_load(1, running="unknown")], []),
        ("trivial", [_load(1, running="short", ran_s=2 * PREFETCH_S)], []),
        ("trivial", [_load(1, unstarted="unknown")], []),
        ("trivial", [_load(1, running="trivial", unstarted="trivial " * MAX_UNSTARTED)], []),
        ("trivial trivial trivial trivial", [_load(1), _load(2)], [1, 2, 1, 2]),
        ("long trivial", [_load(1, running="short")], []),
        ("trivial", [], []),
    ],
)
def test_activations_go_to(queue: str, loads: list[RunnerLoad], runners: list[int]) -> None:
    """Idle runners first; behind short ones only short ones, evenly; nothing behind long or unknown ones; FIFO."""
    plan = plan_dispatch(enumerate(queue.split()), loads, ESTIMATES, NOW_S)
    assert plan.assignments == [Assignment(activation, runner) for activation, runner in enumerate(runners)]


@pytest.mark.parametrize(
    ("queue", "loads", "recalled"),
    [
        ("", [_load(1, running="short", unstarted="short"), _load(2)], [100]),
        ("", [_load(1, running="short", unstarted="trivial trivial trivial trivial"), _load(2)], [102, 103]),
        ("", [_load(1, running="trivial", unstarted="trivial trivial"), _load(2)], []),
        ("", [_load(1, unstarted="short"), _load(2)], []),
        ("", [_load(1, running="short", unstarted="short"), _load(2, running="short")], []),
        ("", [_load(1, running="short", unstarted="short", ran_s=1.0), _load(2, running="short")], [100]),
        ("long", [_load(1, running="short", unstarted="short"), _load(2)], []),
        ("", [_load(1, running="short", unstarted="short", ran_s=1.0)], []),
    ],
)
def test_unstarted_activations_are_recalled(queue: str, loads: list[RunnerLoad], recalled: list[int]) -> None:
    """An idle runner gets half of what waits elsewhere if that is worth it; an overdue one gives everything back."""
    plan = plan_dispatch(enumerate(queue.split()), loads, ESTIMATES, NOW_S)
    assert [recall.activation for recall in plan.recalls] == recalled


def test_nothing_is_recalled_twice() -> None:
    """A recall that is under way is not repeated."""
    waiting = RunnerLoad(1, 1, [Running("short", NOW_S)], [Unstarted(100, "short", recalled=True)], 0)
    assert plan_dispatch([], [waiting, _load(2)], ESTIMATES, NOW_S).recalls == []


@pytest.mark.parametrize(
    ("loads", "recheck_s"),
    [
        ([_load(1, running="short", unstarted="short"), _load(2, running="long")], RECHECK_S),
        ([_load(1, running="short"), _load(2, running="long")], None),
        ([_load(1, running="short", unstarted="short")], None),
    ],
)
def test_a_recheck_is_asked_for_while_something_waits_that_another_could_take(
    loads: list[RunnerLoad], recheck_s: float | None
) -> None:
    """Time alone can make a runner overdue; nothing would happen then without a recheck."""
    assert plan_dispatch([], loads, ESTIMATES, NOW_S).recheck_s == recheck_s


def test_an_async_runner_takes_activations_up_to_its_slots() -> None:
    """Many run at once on an event loop, whatever their length."""
    load = RunnerLoad(1, 3, [Running("long", NOW_S)], [], 0)
    plan = plan_dispatch(enumerate(["long", "unknown", "long"]), [load], ESTIMATES, NOW_S)
    assert [assignment.activation for assignment in plan.assignments] == [0, 1]


def _async_load(runner: int, *, running: int = 0, parked: int = 0, **more: Any) -> RunnerLoad:
    return RunnerLoad(runner, 1000, [Running("long", NOW_S)] * running, [], parked, **more)


@pytest.mark.parametrize(
    ("loads", "assigned"),
    [
        ([_async_load(1)], [(90, 1)]),
        ([_async_load(1), _async_load(2)], [(90, 1), (91, 2)]),
        ([_async_load(1), _async_load(2), _async_load(3)], [(90, 1), (91, 2), (0, 3), (1, 3)]),
        ([_async_load(1, parked=5), _async_load(2)], [(90, 2), (91, 1)]),
        ([_async_load(1, running=1)], []),
        ([_async_load(1, parked=1, stepping=1)], []),
        ([_async_load(1, running=1), _async_load(2, running=2)], [(0, 2), (1, 2)]),
        ([_async_load(1, running=1, is_reserved=True), _async_load(2, running=2)], []),
        ([_async_load(1, running=1, is_reserved=True)], []),
        ([_load(1, running="short"), _load(2)], [(90, 2)]),
    ],
)
def test_a_suspect_gets_an_idle_runner_for_itself(loads: list[RunnerLoad], assigned: list[tuple[int, int]]) -> None:
    """Suspects 90 and 91 go first; without an idle runner, the one with the least to do gets nothing more."""
    plan = plan_dispatch(enumerate(["long", "long"]), loads, ESTIMATES, NOW_S, suspects=[90, 91])
    assert [(one.activation, one.runner) for one in plan.assignments] == assigned


def test_what_has_not_started_leaves_a_runner_that_is_emptied_for_a_suspect() -> None:
    """It would start beside the suspect, or make it wait; it is asked back once."""
    load = _load(1, running="short", unstarted="short short")
    assert plan_dispatch([], [load], ESTIMATES, NOW_S, suspects=[90]).recalls == [
        Assignment(100, 1),
        Assignment(101, 1),
    ]
    recalled = RunnerLoad(1, 1, [Running("short", NOW_S)], [Unstarted(100, "short", recalled=True)], 0)
    assert plan_dispatch([], [recalled], ESTIMATES, NOW_S, suspects=[90]).recalls == []


def test_nothing_is_started_on_a_reserved_runner() -> None:
    """Who runs alone stays alone, whatever is queued."""
    load = _async_load(1, running=1, is_reserved=True)
    assert plan_dispatch([(0, "trivial")], [load], ESTIMATES, NOW_S).assignments == []


def test_estimates_follow_the_newest_durations() -> None:
    """The first duration counts whole; later ones move the estimate towards them."""
    assert next_estimate(None, 2.0) == 2.0
    assert 1.0 < next_estimate(1.0, 2.0) < 2.0


@given(
    queue=st.lists(st.sampled_from(["trivial", "short", "long", "unknown"]), max_size=200),
    running=st.lists(st.sampled_from(["", "trivial", "short", "long", "unknown"]), max_size=4),
)
def test_every_plan_is_a_prefix_of_the_queue_and_leaves_no_runner_idle(queue: list[str], running: list[str]) -> None:
    """Nothing is assigned twice or out of order, and while something is queued every idle runner gets work."""
    loads = [_load(number, running=function) for number, function in enumerate(running)]
    plan = plan_dispatch(enumerate(queue), loads, ESTIMATES, NOW_S)
    assert [assignment.activation for assignment in plan.assignments] == list(range(len(plan.assignments)))
    idle = {load.runner for load in loads if not load.running}
    busy = {assignment.runner for assignment in plan.assignments}
    assert len(plan.assignments) == len(queue) or idle <= busy
    for load in loads:
        own = [queue[assignment.activation] for assignment in plan.assignments if assignment.runner == load.runner]
        behind = own if load.running else own[1:]
        assert not {"long", "unknown"} & set(behind)
        assert sum(ESTIMATES[function] for function in behind) < PREFETCH_S


@pytest.mark.parametrize(
    ("room", "suspects", "given"),
    [
        (None, [], [0, 1]),
        (5, [], [0, 1]),
        (1, [], [0]),
        (0, [], []),
        (1, [9], [9]),
        (2, [9], [9, 0]),
        (0, [9], []),
    ],
)
def test_no_more_are_given_out_than_there_is_room_for(room: int | None, suspects: list[int], given: list[int]) -> None:
    """However idle runners are; what is left stays in the queue, in order."""
    queue = enumerate(["long", "long"])
    plan = plan_dispatch(queue, [_load(1), _load(2)], ESTIMATES, NOW_S, suspects=suspects, room=room)
    assert [assignment.activation for assignment in plan.assignments] == given
    assert plan.recalls == []
