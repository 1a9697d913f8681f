"""Internal. Pure: which queued activation goes to which runner, and which unstarted ones come back; the pool acts.

An idle runner takes anything. A busy one is given more only if everything on it is known to be short, so that it never
waits for the supervisor between short activations, and nothing ever waits behind a long one. What was given to a runner
that turns out slower than another is recalled. Durations are of active time: from Running to parked or ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

PREFETCH_S: Final = 0.1
"""Most expected active time that a runner is given beyond what it runs, and longest activation that others may wait
behind. Judgement: covers a supervisor's turn under load (milliseconds) for activations of 50 ms; for one of 100 ms the
round trip is lost time below 1 %, and a wait of that length is not felt should the runner not answer a recall."""

MAX_UNSTARTED: Final = 64
"""Most activations given beyond what runs. At 3,000 per second and runner that is 20 ms of work."""

RECALL_S: Final = 0.002
"""Shortest expected wait that a recall is worth: it costs a round trip of up to 1.2 ms beside a CPU-bound thread."""

RECHECK_S: Final = 0.02
"""When to look again while something waits behind a running activation, which may turn out longer than expected."""

_SMOOTHING: Final = 0.3  # weight of the newest duration


class Running(msgspec.Struct, frozen=True):
    """An activation that holds a runner's active slot."""

    function: str
    started_s: float


class Unstarted(msgspec.Struct, frozen=True):
    """An activation in a runner's inbox. ``recalled``: it has been asked back."""

    activation: int
    function: str
    recalled: bool = False


class RunnerLoad(msgspec.Struct, frozen=True):
    """What a runner that takes work has to do.

    Attributes:
        slots: how many activations it runs at once; 1 for sync runners.
        parked: activations that wait in it.
        stepping: how many of the parked wait for a step.
        is_reserved: what is active there, or about to be, is to be alone.
    """

    runner: int
    slots: int
    running: Sequence[Running]
    unstarted: Sequence[Unstarted]
    parked: int
    stepping: int = 0
    is_reserved: bool = False


class Assignment(msgspec.Struct, frozen=True):
    """Send this activation to this runner, or recall it from there."""

    activation: int
    runner: int


class DispatchPlan(msgspec.Struct, frozen=True):
    """What to do now.

    Attributes:
        assignments: a prefix of the suspects, then a prefix of the queue, in order.
        recheck_s: plan again after this time though nothing has happened; None: no need.
    """

    assignments: list[Assignment]
    recalls: list[Assignment]
    recheck_s: float | None


def next_estimate(previous_s: float | None, duration_s: float) -> float:
    """Return the expected duration of a function after one more observation."""
    return duration_s if previous_s is None else previous_s + _SMOOTHING * (duration_s - previous_s)


class _Slots:
    """A runner while the plan is being made."""

    def __init__(self, load: RunnerLoad, estimates: Mapping[str, float], now_s: float) -> None:
        self.load = load
        self.free = load.slots - len(load.running) - len(load.unstarted)
        self.waiting_s = sum(estimates.get(item.function, PREFETCH_S) for item in load.unstarted)
        self.unstarted = len(load.unstarted)
        self.longest_s = max(
            (max(estimates.get(item.function, PREFETCH_S), now_s - item.started_s) for item in load.running),
            default=0.0,
        )

    @property
    def active(self) -> int:
        return len(self.load.running) + self.load.stepping + self.unstarted

    def takes_more(self, estimate_s: float | None) -> bool:
        return (
            estimate_s is not None
            and self.longest_s < PREFETCH_S
            and self.waiting_s + estimate_s < PREFETCH_S
            and self.unstarted < MAX_UNSTARTED
        )

    def add(self, estimate_s: float | None) -> None:
        if self.free > 0 and self.load.slots == 1:
            # What takes the slot is as good as running: the next one waits behind it.
            self.longest_s = PREFETCH_S if estimate_s is None else estimate_s
        else:
            self.waiting_s += estimate_s or 0.0
        self.free -= 1
        self.unstarted += 1


def plan_dispatch(
    queue: Iterable[tuple[int, str]],
    loads: Sequence[RunnerLoad],
    estimates: Mapping[str, float],
    now_s: float,
    *,
    suspects: Sequence[int] = (),
    room: int | None = None,
) -> DispatchPlan:
    """Plan for one colour.

    Args:
        queue: (activation, function) of those in no runner, oldest first; read only as far as runners take them.
        loads: the runners that take work.
        estimates: expected active seconds per function; a function without one counts as long.
        now_s: on the clock of ``Running.started_s``.
        suspects: activations in no runner, oldest first, each of which is to be the only active one of its runner.
        room: how many may be given out now, whatever runners could take; None for no limit.
    """
    runners = [_Slots(load, estimates, now_s) for load in loads if not load.is_reserved]
    assignments, emptying = _place_suspects(runners, suspects[:room])
    queue_is_empty = True
    for activation, function in queue:
        estimate_s = estimates.get(function)
        has_room = room is None or len(assignments) < room
        chosen = _choose(runners, estimate_s) if has_room else None
        if chosen is None:
            queue_is_empty = False
            break
        chosen.add(estimate_s)
        assignments.append(Assignment(activation, chosen.load.runner))
    recalls = emptying + _plan_recalls(runners, queue_is_empty=queue_is_empty)
    recheck = len(runners) > 1 and any(runner.load.running and runner.unstarted for runner in runners)
    return DispatchPlan(assignments, recalls, RECHECK_S if recheck else None)


def _place_suspects(runners: list[_Slots], suspects: Sequence[int]) -> tuple[list[Assignment], list[Assignment]]:
    """Return assignments and recalls, and take the runners that get nothing else out of ``runners``."""
    assignments: list[Assignment] = []
    for suspect in suspects:
        if not runners:
            break
        chosen = min(runners, key=lambda runner: (runner.active, runner.load.parked))
        runners.remove(chosen)
        if chosen.active:
            # It is emptied for this one: nothing new starts there, and what has not started goes elsewhere.
            back = [item for item in chosen.load.unstarted if not item.recalled]
            return assignments, [Assignment(item.activation, chosen.load.runner) for item in back]
        assignments.append(Assignment(suspect, chosen.load.runner))
    return assignments, []


def _choose(runners: Sequence[_Slots], estimate_s: float | None) -> _Slots | None:
    free = [runner for runner in runners if runner.free > 0]
    if free:
        return max(free, key=lambda runner: (runner.free, -runner.load.parked))
    able = [runner for runner in runners if runner.takes_more(estimate_s)]
    return min(able, key=lambda runner: (runner.longest_s + runner.waiting_s, runner.unstarted), default=None)


def _plan_recalls(runners: Sequence[_Slots], *, queue_is_empty: bool) -> list[Assignment]:
    if len(runners) < 2:
        return []
    recalls: list[Assignment] = []
    idle = sum(runner.free for runner in runners if runner.free > 0) if queue_is_empty else 0
    slow_first = sorted(runners, key=lambda runner: runner.longest_s + runner.waiting_s, reverse=True)
    for runner in slow_first:
        unstarted = [item for item in runner.load.unstarted if not item.recalled]
        # While a slot is free there is nothing to take back: what is unstarted there is about to start.
        if not unstarted or len(runner.load.running) < runner.load.slots:
            continue
        if runner.longest_s >= PREFETCH_S:
            back = unstarted
        elif idle > 0 and runner.longest_s + runner.waiting_s > RECALL_S:
            # Half of them: the idle runner has as much to do as this one then.
            back = unstarted[len(unstarted) // 2 :]
            idle -= 1
        else:
            continue
        recalls += [Assignment(item.activation, runner.load.runner) for item in back]
    return recalls
