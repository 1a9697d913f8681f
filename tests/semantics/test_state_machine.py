"""Clients, crashes, deletions and jumps of time in any order, against a model that knows of none of the machinery.

After each action everything that is there is compared with the model: ``machine_model`` says what must be, and
``machine_programs`` what is run. ``KONTINUE_MACHINE_EXAMPLES`` says how many sequences of actions are tried; more than
the default are others in each run, so that a long run finds what the short one does not.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections import Counter
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import machine_programs
from kontinue.api import labels
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Phase, Suspension
from kontinue.client import Client
from kontinue.errors import InvalidPayload, InvalidState
from kontinue.kube import requests
from kontinue_engine.controllers.histories import FIRST_LOOK_S
from kontinue_engine.lifecycle import memo
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.observed import HISTORY_INCOMPLETE
from kontinue_engine.testing import TestEnvironment
from machine_model import DELETED, PARKING_MS, Run, World

pytestmark = pytest.mark.slow
T = TypeVar("T")

FEW = 25
EXAMPLES = int(os.environ.get("KONTINUE_MACHINE_EXAMPLES", FEW))
START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_ROOTS = 3
COLLECTING_MS = 1_000
"""In which the server deletes what belonged to something that is gone."""
LOOKING_MS = round(FIRST_LOOK_S * 1000)
"""After which a page that is back is found."""
SHORT_PAGE = 1
"""Records of a page, where pages are to be common."""
MAX_DEATHS = 3
"""Of runners: four in a row without a new record would fail an Execution."""
YEARS = timedelta(days=3650)
ENDS = {"Completed", "Failed", "Canceled", "Skipped"}
_KEPT = {"name", "labels", "annotations", "ownerReferences"}
_KINDS = {"Sleep": "Suspension", "Manual": "Suspension"}
"""What the status calls what the model calls so."""
picks = st.integers(0, 10**6)


class Machine(RuleBasedStateMachine):
    """One environment, and the model beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.patch = pytest.MonkeyPatch()
        self.world = World()
        self.names: dict[str, str] = {}
        self.roots = 0
        self.deaths = 0
        self.restarted_ms = 0
        self.deleted_ms: int | None = None
        self.was_struck = False
        self.extra: Counter[str] = Counter()
        self.recorded: dict[str, tuple[Run, int, int]] = {}
        self.phases: dict[str, str] = {}
        self.violations: list[str] = []
        machine_programs.effects.clear()
        machine_programs.broken.clear()

    def teardown(self) -> None:
        try:
            if hasattr(self, "env"):
                self._end_everything()
        finally:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "crash_after")
                if hasattr(self, "env"):
                    self.do(_close(self.env))
            self.runner.close()
            self.patch.undo()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(replay=st.booleans(), has_pages=st.booleans(), job=machine_programs.roots())
    def begin(self, replay: bool, has_pages: bool, job: dict[str, Any]) -> None:
        self.patch.setattr(memo, "OPEN_RECORDS", SHORT_PAGE if has_pages else memo.OPEN_RECORDS)
        self.env = TestEnvironment(replay=replay, start=START)
        self.env.use(machine_programs.app)
        self.client: Client = self.env.client
        self.do(self.env.advance(timedelta(0)))
        driver = self.env._world.driver
        self.watching = driver.loop.create_task(self._watch())
        self.spawn(job)

    async def _watch(self) -> None:
        """Note every phase that is ever written."""
        asked = requests.watch(requests.EXECUTIONS, "default", resource_version="")
        async for line in self.env._world._transport.stream(asked):
            event = msgspec.json.decode(line)
            found = event["object"]
            uid, phase = found["metadata"].get("uid", ""), found.get("status", {}).get("phase", "Pending")
            before = self.phases.get(uid, "Pending")
            self.phases[uid] = phase
            is_final = before in {"Completed", "Skipped"} or (before in ENDS and phase != "Pending")
            if is_final and phase != before and event["type"] != "DELETED":
                self.violations.append(f"{found['metadata']['name']} was {before} and became {phase}")

    # What clients do.

    @precondition(lambda self: self.roots < MAX_ROOTS)
    @rule(job=machine_programs.roots())
    def spawn(self, job: dict[str, Any]) -> None:
        self.roots += 1
        where = f"r{self.roots}"
        Run(self.world, where, job, None)
        definition = machine_programs.definition(job, name=where)
        self.do(self.env.spawn(definition, machine_programs.job_of(where, job)))
        self._settle()

    @rule(by=st.sampled_from([1, 4, 10, 61, 3_600, 90_000]))
    def wait(self, by: int) -> None:
        self._move(by * 1000)

    @precondition(lambda self: self.world.next_ms() is not None)
    @rule(early=st.booleans())
    def wait_for_the_next_timer(self, early: bool) -> None:
        next_ms = self.world.next_ms()
        assert next_ms is not None
        self._move(max(0, next_ms - self.world.now_ms - early))

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        run = self._pick(pick)
        canceling = self.client.cancel(self.names[run.where])
        if run.is_terminal:
            self._refused(canceling)
            return
        self.do(canceling)
        run.end("Canceled")
        self._settle()

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks, result=st.integers(100, 200))
    def skip(self, pick: int, result: int) -> None:
        run = self._pick(pick)
        skipping = self.client.skip(self.names[run.where], result=result)
        if run.is_terminal:
            self._refused(skipping)
            return
        self.do(skipping)
        run.end("Skipped", result)
        self._settle()

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        run = self._pick(pick, "Failed", "Canceled")
        retrying = self.client.retry_execution(self.names[run.where])
        if run.phase not in ("Failed", "Canceled") or (run.parent is not None and not run.parent.is_terminal):
            self._refused(retrying)
            return
        self.do(retrying)
        run.retries += 1
        run.runs_anew = False
        run.restart(is_alone=run.parent is not None)
        self._settle()

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks)
    def run_anew(self, pick: int) -> None:
        """Nothing that is done counts any more, in later attempts, too."""
        run = self._pick(pick, "Failed", "Canceled")
        retrying = self.client.retry_execution(self.names[run.where], child_policy=ChildPolicy.RETRY_ALL)
        if run.phase not in ("Failed", "Canceled") or (run.parent is not None and not run.parent.is_terminal):
            self._refused(retrying)
            return
        if not run.may_run_anew:
            retrying.close()
            return
        self.do(retrying)
        run.retries += 1
        run.runs_anew = True
        run.restart(is_alone=run.parent is not None)
        self._settle()

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks)
    def raise_retries(self, pick: int) -> None:
        """By an edit of the spec: of what lives, one more; of what has ended badly, a wish."""
        run = self._pick(pick)
        name = self.names[run.where]
        run.retries += 1
        patch = {"spec": {"retry": {"retries": run.retries}}}
        self._send(requests.merge_patch(requests.EXECUTIONS, "default", name, patch))
        is_free = run.parent is None or run.parent.is_terminal
        if run.phase in ("Failed", "Canceled") and is_free:
            run.restart(is_alone=run.parent is not None)
        self._settle()

    @precondition(lambda self: self._waiting())
    @rule(pick=picks, payload=st.integers(100, 200))
    def resume(self, pick: int, payload: int) -> None:
        waiting = self._waiting()
        run, path, kind = waiting[pick % len(waiting)]
        name = self._suspensions()[path].metadata.name
        if kind == "Manual":
            with pytest.raises(InvalidPayload):
                self.do(self.client.resume_suspension(name, "yes"))
        self.do(self.client.resume_suspension(name, payload if kind == "Manual" else None))
        run.told[path] = payload
        self._settle()

    @precondition(lambda self: self._waiting("Job"))
    @rule(pick=picks)
    def end_job(self, pick: int) -> None:
        waiting = self._waiting("Job")
        _, path, _ = waiting[pick % len(waiting)]
        self.env.jobs.succeed(path)
        self.world.answered.add(path)
        self._settle()

    # What goes wrong.

    @precondition(lambda self: self._waiting("Job"))
    @rule(pick=picks)
    def delete_job(self, pick: int) -> None:
        """Whoever waits for it is told, whatever dies; unless that is before a word was written."""
        waiting = self._waiting("Job")
        run, path, _ = waiting[pick % len(waiting)]
        self._send(requests.delete(requests.JOBS, "default", self._jobs()[path]))
        run.told[path] = DELETED
        self.deleted_ms = self.world.now_ms
        self._settle()

    @precondition(lambda self: self._paged_waits() and self._is_quiet() and not self._is_any_active())
    @rule(pick=picks, payload=st.integers(100, 200), is_garbled=st.booleans())
    def lose_page(self, pick: int, payload: int, is_garbled: bool) -> None:
        """What needs it to go on is Blocked until it is back as it was."""
        waiting = self._paged_waits()
        run, path, kind, page = waiting[pick % len(waiting)]
        name = page["metadata"]["name"]
        meta = {key: value for key, value in page["metadata"].items() if key in _KEPT}
        self._send(requests.delete(requests.MEMO_PAGES, "default", name))
        if is_garbled:
            spec = {**page["spec"], "memo": {"build": "", "records": []}}
            self._send(requests.create(requests.MEMO_PAGES, "default", {**page, "metadata": meta, "spec": spec}))
        self.restart_worker()
        if kind == "Job":
            self.env.jobs.succeed(path)
        else:
            name_of_wait = self._suspensions()[path].metadata.name
            self.do(self.client.resume_suspension(name_of_wait, payload if kind == "Manual" else None))
        self._settle()
        found = self.do(self.client.get(self.names[run.where]))
        assert (found.phase, found.status.reason) == (Phase.BLOCKED, HISTORY_INCOMPLETE), found.status
        if is_garbled:
            self._send(requests.delete(requests.MEMO_PAGES, "default", name))
        self._send(requests.create(requests.MEMO_PAGES, "default", {**page, "metadata": meta}))
        self._move(LOOKING_MS)
        if kind == "Job":
            self.world.answered.add(path)
        else:
            run.told[path] = payload
        self._settle()

    @precondition(lambda self: self.world.runs and not self.world.is_tied)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """Whoever waits for a child takes it for canceled, whatever dies; unless that is before a word was written."""
        run = self._pick(pick)
        is_awaited = run.parent is not None and not run.parent.is_terminal and not run.is_terminal
        if run.is_terminal and run.parent is not None and not (run.parent.is_terminal or run.parent.is_written):
            return  # its parent may ask for it once more
        self._send(requests.delete(requests.EXECUTIONS, "default", self.names[run.where]))
        self.world.delete(run)
        if is_awaited:
            self.deleted_ms = self.world.now_ms
        self._move(COLLECTING_MS)

    @precondition(lambda self: self.deaths < MAX_DEATHS or not self._is_any_active())
    @rule()
    def restart_worker(self) -> None:
        """What is not Suspended may have killed it."""
        self.deaths += self._is_any_active()
        self._lose_memory()
        self.do(self.env.restart_worker())
        self.was_struck = True
        self.restarted_ms = self.world.now_ms
        self._settle()

    @precondition(lambda self: self.deaths < MAX_DEATHS)
    @rule(name=st.sampled_from(["act", "call", "run", "run_in_thread", ""]), recorded=st.booleans())
    def crash_after(self, name: str, recorded: bool) -> None:
        """Not before the record of every call: of those that run together each would lose the others' once more."""
        self.deaths += 1
        self._lose_memory()
        self.env.crash_after(*filter(None, [name]), recorded=recorded or not name)

    @rule(service=st.sampled_from(machine_programs.SERVICES))
    def break_or_mend(self, service: str) -> None:
        for broken in (machine_programs.broken, self.world.broken):
            broken ^= {service}

    # What must be.

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "env"):
            return
        found = {one.metadata.name: one for one in self.do(self.client.list())}
        assert not self.violations, self.violations
        self._check_families(found)
        if self.world.is_tied:
            return
        by_where = {_where(one): one for one in found.values()}
        assert self._without_loose(by_where) == self._without_loose(self.world.runs)
        self.names = {where: one.metadata.name for where, one in by_where.items()}
        for where, run in self.world.runs.items():
            if where in by_where:
                self._check_run(run, by_where[where])
        open_ones = self._suspensions()
        assert sorted(open_ones) == sorted(path for _, path, _ in self._waiting())
        started = [path for run in self.world.runs.values() for path in run.jobs]
        assert self._without_loose(self._jobs()) == self._without_loose(started)
        self._check_effects()

    def _check_run(self, run: Run, found: Execution) -> None:
        where, phase = run.where, found.phase.value
        if run.is_loose:
            assert phase in ENDS, (where, phase)
            return
        if run.is_terminal:
            assert phase == run.phase, (where, phase, run.phase, found.status.reason, found.status.message)
            assert is_stopped(found.status.conditions), where
            if run.result is not None:
                assert msgspec.json.decode(found.status.result or b"null") == run.result, where
        elif run.phase:
            assert phase == run.phase, (where, phase, found.status.message)
            (waiting,) = found.status.waiting_for
            assert waiting.until == START + timedelta(milliseconds=run.wakes_ms)
        elif not run.is_open:
            assert phase == "Pending", (where, phase)
        else:
            assert phase in {"Pending", "Executing", "Suspended"}, (where, phase, found.status.message)
            self._check_waits(run, found)
        if phase in ("Canceled", "Skipped") and run.attempt - found.status.attempt_count == 1:
            run.attempt -= 1  # nothing of it was written
        assert found.status.attempt_count == run.attempt or phase == "Pending", (
            where,
            found.status.attempt_count,
            run.attempt,
            found.status.attempts,
        )

    def _check_waits(self, run: Run, found: Execution) -> None:
        """What lives waits for something, and says for what when it is Suspended."""
        assert run.waits, run.where
        since_ms = max(run.moved_ms, self.restarted_ms)
        if self.was_struck or self.world.now_ms - since_ms <= PARKING_MS:
            return
        assert found.phase is Phase.SUSPENDED, (run.where, found.phase)
        kinds = {_KINDS.get(kind, kind) for kind in run.waits.values()}
        told = {one.kind for one in found.status.waiting_for}
        assert told, run.where
        assert told <= kinds | {"Timer"}, (run.where, told, kinds)

    def _check_families(self, found: dict[str, Execution]) -> None:
        for one in found.values():
            parent = parent_of(one.metadata.owner_references)
            if parent is not None and not one.phase.is_terminal and "#" in _where(one):
                above = found.get(parent.name)
                is_alone = above is not None and self._is_alone(_where(one))
                assert above is not None, f"{one.metadata.name} lives, and its parent is gone"
                assert is_alone or not above.phase.is_terminal, f"{one.metadata.name} lives, its parent has ended"

    def _is_alone(self, where: str) -> bool:
        run = self.world.runs.get(where)
        return run is not None and run.is_alone

    def _check_effects(self) -> None:
        """Each at least once, nothing that nobody asked for, and what is recorded never again."""
        counted = {path: machine_programs.effects[path] for path in self._without_loose(machine_programs.effects)}
        expected = {path: self.world.effects[path] for path in self._without_loose(self.world.effects)}
        assert counted.keys() == expected.keys()
        extra = Counter({path: count - expected[path] for path, count in counted.items()})
        assert all(count >= 0 for count in extra.values()), extra
        if not (self.was_struck or self.deaths):
            assert extra == self.extra
        for path, (run, runs, before) in self.recorded.items():
            if path in counted and self._runs_of(path) is run and run.runs == runs and path in run.done:
                assert counted[path] == before, f"{path} has run again"
        self.recorded = {
            path: (run, run.runs, counted[path])
            for run in self.world.runs.values()
            for path in run.done
            if path in counted
        }
        self.extra, self.was_struck = extra, False

    def _without_loose(self, paths: Iterable[str]) -> list[str]:
        """Return what does not belong to a run that may have ended in either way."""
        loose = tuple(f"{where}#" for where in self.world.loose)
        return sorted(path for path in paths if not path.startswith(loose or "?"))

    def _runs_of(self, path: str) -> Run | None:
        return self.world.runs.get(path.rpartition("#")[0])

    # Parts.

    def _is_any_active(self) -> bool:
        since_ms = self.world.now_ms - PARKING_MS
        return any(
            run.is_running and max(run.moved_ms, self.restarted_ms) >= since_ms for run in self.world.runs.values()
        )

    def _lose_memory(self) -> None:
        if self.deleted_ms is not None and self.world.now_ms - self.deleted_ms <= PARKING_MS:
            self.world.is_tied = True

    def _end_everything(self) -> None:
        """Nothing waits for ever: once somebody answers whatever is asked, all of it ends."""
        for broken in (machine_programs.broken, self.world.broken):
            broken.clear()
        for _ in range(200):
            self._move(YEARS // timedelta(milliseconds=1))
            waiting = self._waiting("Job")
            for _, path, _ in waiting:
                self.env.jobs.succeed(path)
                self.world.answered.add(path)
            if waiting:
                self._settle()
                continue
            waiting = self._waiting()
            if not waiting:
                break
            run, path, _ = waiting[0]
            self.do(self.client.resume_suspension(self._suspensions()[path].metadata.name, 7))
            run.told[path] = 7
            self._settle()
        self.is_as_the_model_says()
        if self.world.is_tied:
            return
        assert all(run.is_terminal for run in self.world.runs.values())

    def _settle(self) -> None:
        self._move(0)

    def _move(self, by_ms: int) -> None:
        """A microsecond more, for what binary fractions of seconds lose."""
        self.world.move(by_ms)
        self.do(self.env.advance(timedelta(milliseconds=by_ms, microseconds=by_ms > 0)))

    def _pick(self, pick: int, *phases: str) -> Run:
        runs = [run for run in self.world.runs.values() if not run.is_loose]
        runs = [run for run in runs if run.phase in phases] or runs
        return runs[pick % len(runs)]

    def _waiting(self, *kinds: str) -> list[tuple[Run, str, str]]:
        """Return what waits for somebody, by default what can be resumed."""
        if self.world.is_tied:
            return []
        return [
            (run, path, kind)
            for run in self.world.runs.values()
            if run.is_running
            for path, kind in run.waits.items()
            if kind in (kinds or ("Sleep", "Manual"))
        ]

    def _suspensions(self) -> dict[str, Suspension]:
        listed = self._send(requests.list_objects(requests.SUSPENSIONS, "default"))
        items = msgspec.json.decode(listed, type=_Suspensions).items
        return {one.spec.display_name: one for one in items if one.is_open}

    def _jobs(self) -> dict[str, str]:
        """Return the names of Jobs that have not ended, by their paths."""
        listed = msgspec.json.decode(self._send(requests.list_objects(requests.JOBS, "default")))["items"]
        return {
            one["metadata"]["annotations"][labels.DISPLAY_NAME]: one["metadata"]["name"]
            for one in listed
            if not one.get("status", {}).get("conditions")
        }

    def _paged_waits(self) -> list[tuple[Run, str, str, Any]]:
        """Return who waits for somebody and has MemoPages: that, where, for what, and a page."""
        waiting = {self.names[one[0].where]: one for one in self._waiting("Job", "Sleep", "Manual")}
        if not waiting:
            return []
        listed = msgspec.json.decode(self._send(requests.list_objects(requests.MEMO_PAGES, "default")))["items"]
        pages = [(one["spec"]["execution"], one) for one in listed]
        return [(*waiting[name], page) for name, page in pages if name in waiting]

    def _is_quiet(self) -> bool:
        """Tell whether nothing happens by itself while a page is missing."""
        next_ms = self.world.next_ms()
        return next_ms is None or next_ms > self.world.now_ms + LOOKING_MS

    def _refused(self, work: Coroutine[Any, Any, object]) -> None:
        with pytest.raises(InvalidState):
            self.do(work)

    def _send(self, request: requests.Request) -> bytes:
        return self.do(self.client.kube.send(request))


class _Suspensions(msgspec.Struct):
    items: list[Suspension]


async def _close(env: TestEnvironment) -> None:
    env.close()


def _where(execution: Execution) -> str:
    where: str = msgspec.json.decode(execution.spec.arguments)["job"]["where"]
    return where


@pytest.mark.timeout(max(600, 30 * EXAMPLES))
def test_whatever_is_done_to_executions_they_do_what_the_model_does() -> None:
    """Phases, results, effects, waits and children are those of the model after each action, and at the end of all."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            derandomize=EXAMPLES == FEW,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
