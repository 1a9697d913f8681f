"""What Executions do, as a small model: no API, no memory of code, no replays, no crashes, no workers.

A ``Run`` is an Execution that is evaluated from its beginning whenever something may have changed; what has happened
before is looked up in ``done``. Whoever drives it moves the time from one ``next_ms`` to the next, so that everything
happens at its time. For ``tests/semantics/test_state_machine.py``; the programs are those of ``machine_programs``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

Program = list[Any]

LONG_SLEEP_MS: Final = 5_000
"""Longer sleeps are Suspensions."""
TIMED_OUT, FAILED, CANCELED, MAP_FAILED, UNANSWERED, DELETED = -9, -1, -2, -3, -4, -5
"""What programs return instead of the value of what went wrong."""
PARKING_MS: Final = 6_000
"""What has waited for so long has been written."""
_STEPS: Final = frozenset({"step", "many", "call", "try"})
_UNWRITTEN: Final = frozenset({"sleep", "child", "map", "timeout"})


class AttemptFailedError(Exception):
    """The code of a run raises: of a step that will not be retried by itself, or of a child."""

    def __init__(self, *, is_final: bool = False) -> None:
        self.is_final = is_final


class Run:
    """One Execution.

    Attributes:
        where: what it is called in the model; unique, and part of its arguments.
        phase: "" while it lives, "Backoff", or how it has ended.
        attempt: attempts that have begun.
        done: path -> value, of everything that has ended in this run of it.
        due_ms: path -> when that timer ends.
        told: path -> payload, of what somebody has resumed.
        children: path -> Execution.
        jobs: paths of the Jobs that it has started, and that have not ended.
        waits: kinds of what it waits for, by path of those that can be resumed.
        moved_ms: when anything of it happened last.
        is_loose: two things happened at the same time, so it may have ended in either way.
        is_alone: it goes on although its parent has ended.
        runs: how often somebody has had it run anew.
        runs_anew: each new attempt does.
        earlier: children of runs that it has continued from.
        is_written: whether everything that is done must have been written: children and timers wait for the next write.
        is_unsure: it was ended before they were, so another attempt may find them or not.
    """

    def __init__(self, world: World, where: str, job: dict[str, Any], parent: Run | None) -> None:
        self.world, self.where, self.job, self.parent = world, where, job, parent
        self.created_ms = self.moved_ms = world.now_ms
        self.phase = ""
        self.result: int | None = None
        self.attempt, self.is_open = 0, False
        self.retries: int = job["retries"]
        self.rounds: int = job["rounds"]
        self.total = 0
        self.done: dict[str, int] = {}
        self.due_ms: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.children: dict[str, Run] = {}
        self.jobs: set[str] = set()
        self.again: set[str] = set()
        self.runs, self.runs_anew = 0, False
        self.waits: dict[str, str] = {}
        self.deadline_ms: int | None = None
        self.wakes_ms = 0
        self.is_loose, self.is_alone = False, False
        self.earlier: list[Run] = []
        self.is_written, self.is_unsure = True, False
        world.runs[where] = self

    @property
    def is_terminal(self) -> bool:
        return self.phase not in ("", "Backoff")

    @property
    def is_running(self) -> bool:
        """Whether its code has begun, and has not ended."""
        return not self.phase and self.is_open

    def times_ms(self) -> Iterator[int]:
        """When something will happen by itself."""
        if self.is_terminal:
            return
        if self.phase:
            yield self.wakes_ms
        elif self.is_open:
            yield from self.due_ms.values()
        if self.deadline_ms is not None:
            yield self.deadline_ms

    # What happens to it.

    def advance(self) -> bool:
        """Do what can be done now; tell whether anything has changed."""
        now_ms = self.world.now_ms
        if self.is_terminal:
            return False
        if self.deadline_ms is not None and now_ms >= self.deadline_ms:
            self.deadline_ms = None
            self.world.note_tie(self)
            self.end("Failed")
            return True
        if self.phase and now_ms < self.wakes_ms:
            return False
        if not self.world.holds_mutex(self):
            return False
        before = self._state()
        self.phase = ""
        if not self.is_open:
            self.attempt, self.is_open = self.attempt + 1, True
            if self.deadline_ms is None and self.job["overall_ms"]:
                self.deadline_ms = now_ms + self.job["overall_ms"]
        self.waits = {}
        try:
            value = self._play(f"{self.where}#{self.rounds}", self.job["body"])
        except AttemptFailedError as failure:
            self._fail_attempt(is_final=failure.is_final)
        else:
            if value is not None:
                self._return(value)
        has_moved = self._state() != before
        if has_moved:
            self.moved_ms = now_ms
        return has_moved

    def end(self, phase: str, result: int | None = None) -> None:
        """End it, and everything that it has started."""
        self.is_unsure = not self.is_written
        self.phase, self.result, self.is_open = phase, result, False
        self.due_ms.clear()
        self.told.clear()
        self.jobs.clear()
        self.moved_ms = self.world.now_ms
        for child in self.children.values():
            child.cancel()

    def cancel(self, *, is_loose: bool = False) -> None:
        """End it, unless it has ended; with ``is_loose`` nobody knows whether it was faster."""
        if is_loose and (not self.is_terminal or self.moved_ms == self.world.now_ms):
            self.is_loose = True
            self.world.loose.add(self.where)
            for child in self.children.values():
                child.cancel(is_loose=True)
        if not self.is_terminal:
            self.world.is_tied |= any(at_ms <= self.world.now_ms for at_ms in self.times_ms())
            self.end("Canceled")

    @property
    def may_run_anew(self) -> bool:
        """Whether it has no children: those of two runs would be called the same."""
        return not _has_children(self.job["body"])

    def restart(self, *, is_alone: bool = False) -> None:
        """Give it another attempt, with what is done; ``is_alone`` if its parent has ended."""
        self.is_alone = is_alone
        self.world.is_tied |= self.is_unsure
        self.phase, self.result, self.deadline_ms = "", None, None
        self.moved_ms = self.world.now_ms
        self.again = {path for path, child in self.children.items() if path not in self.done and not child.is_good}
        self._forget_if_anew()

    def _forget_if_anew(self) -> None:
        if self.runs_anew:
            self.runs += 1
            self.done, self.due_ms, self.told, self.jobs = {}, {}, {}, set()

    @property
    def is_good(self) -> bool:
        return self.phase in ("", "Backoff", "Completed", "Skipped")

    def _fail_attempt(self, *, is_final: bool) -> None:
        self.is_open = False
        if is_final or self.attempt > self.retries:
            self.end("Failed")
            return
        self.phase, self.wakes_ms = "Backoff", self.world.now_ms + self.job["backoff_ms"]
        self.again = {path for path, child in self.children.items() if path not in self.done and not child.is_good}
        self._forget_if_anew()

    def _return(self, value: int) -> None:
        self.total += value
        if self.rounds == 1:
            self.end("Completed", self.total)
            return
        self.rounds -= 1
        self.attempt, self.is_open = 0, False
        for child in self.children.values():
            child.cancel()
            self.earlier.append(child)
        self.done, self.due_ms, self.told, self.children, self.again = {}, {}, {}, {}, set()
        self.jobs = set()

    def _state(self) -> object:
        return (
            self.phase,
            self.attempt,
            self.rounds,
            len(self.done),
            len(self.children),
            tuple(self.due_ms),
            len(self.again),
        )

    # What its code does.

    def _play(self, path: str, program: Program) -> int | None:
        """Return the value of what the program says, or None while that waits."""
        if path in self.done:
            return self.done[path]
        value: int | None = getattr(self, f"_{program[0]}")(path, *program[1:])
        if value is not None:
            self.done[path] = value
            self.is_written = program[0] in _STEPS or (self.is_written and program[0] not in _UNWRITTEN)
        return value

    def _step(self, path: str, number: int) -> int:
        self.world.effects[path] += 1
        return number

    def _many(self, path: str, count: int) -> int:
        for number in range(count):
            self.world.effects[f"{path}.{number}"] += 1
        return count

    def _call(self, path: str, service: str, number: int) -> int:
        self.world.effects[path] += 1
        if service in self.world.broken:
            raise AttemptFailedError
        return number

    def _try(self, path: str, service: str, number: int) -> int:
        self.world.effects[path] += 1
        return -number if service in self.world.broken else number

    def _fatal(self, path: str) -> int:
        self.world.effects[path] += 1
        raise AttemptFailedError(is_final=True)

    def _sleep(self, path: str, milliseconds: int) -> int | None:
        due_ms = self.due_ms.setdefault(path, self.world.now_ms + milliseconds)
        if self.world.now_ms >= due_ms or path in self.told:
            del self.due_ms[path]
            return 0
        self.waits[path] = "Sleep" if milliseconds > LONG_SLEEP_MS else "Timer"
        return None

    def _suspend(self, path: str, milliseconds: int | None) -> int | None:
        if milliseconds is not None:
            due_ms = self.due_ms.setdefault(path, self.world.now_ms + milliseconds)
        if path in self.told:
            self.due_ms.pop(path, None)
            return self.told[path]
        if milliseconds is not None and self.world.now_ms >= due_ms:
            del self.due_ms[path]
            return UNANSWERED
        self.waits[path] = "Manual"
        return None

    def _job(self, path: str) -> int | None:
        if path in self.told or path in self.world.answered:
            self.jobs.discard(path)
            return self.told.get(path, 1)
        self.jobs.add(path)
        self.waits[path] = "Job"
        return None

    def _child(self, path: str, job: dict[str, Any]) -> int | None:
        child = self._ask(path, job)
        if child.phase in ("Completed", "Skipped"):
            return child.result
        if not child.is_terminal:
            self.waits[path] = "Execution"
            return None
        if job["must"]:
            raise AttemptFailedError
        return FAILED if child.phase == "Failed" else CANCELED

    def _map(self, path: str, jobs: list[dict[str, Any]]) -> int | None:
        children = [self._ask(f"{path}.{number}", job) for number, job in enumerate(jobs)]
        if any(not child.is_good for child in children):
            moving = [child for child in children if child.moved_ms == self.world.now_ms]
            for child in children:
                child.cancel(is_loose=child in moving and len(moving) > 1)
            return MAP_FAILED
        if all(child.is_terminal for child in children):
            return sum(child.result or 0 for child in children)
        self.waits[path] = "Execution"
        return None

    def _seq(self, path: str, programs: list[Program]) -> int | None:
        total = 0
        for number, one in enumerate(programs):
            value = self._play(f"{path}.{number}", one)
            if value is None:
                return None
            total += value
        return total

    def _all(self, path: str, programs: list[Program]) -> int | None:
        values = [self._play(f"{path}.{number}", one) for number, one in enumerate(programs)]
        return None if any(value is None for value in values) else sum(value for value in values if value is not None)

    def _race(self, path: str, programs: list[Program]) -> int | None:
        values = [self._play(f"{path}.{number}", one) for number, one in enumerate(programs)]
        won = [value for value in values if value is not None]
        if not won:
            return None
        self.world.is_tied |= len(won) > 1
        for number, value in enumerate(values):
            if value is None:
                self._abandon(f"{path}.{number}")
        return won[0]

    def _timeout(self, path: str, milliseconds: int, program: Program) -> int | None:
        due_ms = self.due_ms.setdefault(path, self.world.now_ms + milliseconds)
        value = self._play(f"{path}.0", program)
        if value is None and self.world.now_ms < due_ms:
            return None
        self.world.is_tied |= value is not None and self.world.now_ms == due_ms
        del self.due_ms[path]
        if value is None:
            self._abandon(f"{path}.0")
            return TIMED_OUT
        return value

    def _ask(self, path: str, job: dict[str, Any]) -> Run:
        child = self.children.get(path)
        if path in self.again and child is not None:
            if child.phase == "Deleted":
                child = None
            elif not child.is_good:
                child.retries += 1
                child.restart()
        self.again.discard(path)
        if child is None:
            child = self.children[path] = Run(self.world, path, job, self)
        return child

    def _abandon(self, path: str) -> None:
        """Give up what was started below a path; it must not have moved at the same time."""
        for known in [known for known in self.due_ms if _is_below(known, path)]:
            self.world.is_tied |= self.due_ms.pop(known) <= self.world.now_ms
        for known in [known for known in self.waits if _is_below(known, path)]:
            del self.waits[known]
        self.jobs = {known for known in self.jobs if not _is_below(known, path)}
        for known, child in self.children.items():
            if _is_below(known, path) and not child.is_terminal:
                self.world.note_tie(child)
                child.cancel()


class World:
    """All of them, and the time.

    Attributes:
        runs: by where they are; those that were deleted are not among them.
        effects: path -> how often that step must have run.
        broken: services that do not answer.
        answered: paths of Jobs that succeed.
        loose: where runs were that may have ended in either way.
        is_tied: things that decide about each other happened at the same time. What follows is anybody's guess.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.runs: dict[str, Run] = {}
        self.effects: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.answered: set[str] = set()
        self.loose: set[str] = set()
        self.holders: dict[str, Run] = {}
        self.is_tied = False

    def settle(self) -> None:
        """Do everything that can be done now."""
        while any([run.advance() for run in list(self.runs.values())]):  # noqa: C419 - each of them
            pass

    def next_ms(self) -> int | None:
        """Return when something happens by itself, if ever."""
        return min((at_ms for run in self.runs.values() for at_ms in run.times_ms()), default=None)

    def move(self, by_ms: int) -> None:
        """Let time pass."""
        target_ms = self.now_ms + by_ms
        self.settle()
        while (next_ms := self.next_ms()) is not None and next_ms <= target_ms:
            self.now_ms = max(self.now_ms, next_ms)
            self.settle()
        self.now_ms = target_ms

    def holds_mutex(self, run: Run) -> bool:
        """Tell whether a run may go on; grants the mutex that it wants if it is the next."""
        wanted = run.job["mutex"]
        if not wanted:
            return True
        holder = self.holders.get(wanted)
        if holder is None or holder.is_terminal or self.runs.get(holder.where) is not holder:
            waiting = [one for one in self.runs.values() if one.job["mutex"] == wanted and not one.is_terminal]
            holder = self.holders[wanted] = min(waiting, key=lambda one: (one.created_ms // 1000, one.where))
        return holder is run

    def note_tie(self, run: Run) -> None:
        """A run is ended from outside: nobody knows what it does if something else happens to it at the same time."""
        due = any(at_ms <= self.now_ms for at_ms in run.times_ms())
        self.is_tied |= due or run.moved_ms == self.now_ms
        for child in run.children.values():
            if not child.is_terminal:
                self.note_tie(child)

    def delete(self, run: Run) -> None:
        """It is gone, with everything that it has started; whoever waits for it takes it for canceled."""
        if self.runs.get(run.where) is run:
            del self.runs[run.where]
        if not run.is_terminal:
            run.end("Deleted")
        run.phase = "Deleted"
        for child in (*run.children.values(), *run.earlier):
            self.delete(child)


def _has_children(program: Any) -> bool:
    return isinstance(program, list) and (program[:1] in (["child"], ["map"]) or any(map(_has_children, program)))


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}.")
