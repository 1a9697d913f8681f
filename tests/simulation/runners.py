"""Runners without processes: what ``kontinue_engine.pool`` does, on virtual time, for programs that are data.

They are processes of their own: they go on while their supervisor is frozen, and die with it. Their steps have effects
outside, on a ledger that refuses a fencing token lower than one it has seen.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import deque
from collections.abc import Generator
from typing import Any

import msgspec
import programs

from kontinue.replay.records import Record, RecordKind, encode_record
from kontinue_engine.lifecycle.observed import EVICTED
from kontinue_engine.wire import frames

FUNCTION = "work"
LIMITED = "scarce"
"""A function of which ``LIMIT`` may run at a time."""
LIMIT = 2
SLOTS = 2
CRASHED = "RunnerCrashed"


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a step does outside, under the mutex of its Execution if it has one."""

    uid: str
    token: int
    incarnation: str
    mutex: str


class Ledger:
    """The outside world: takes effects, and knows who had which fencing token, per Execution and per mutex.

    Attributes:
        refused: how many effects came with a token that was too low.
    """

    def __init__(self) -> None:
        self.refused = 0
        self.taken = 0
        self._highest: dict[str, tuple[int, str]] = {}

    def take(self, effect: Effect) -> str | None:
        """Accept or refuse one effect; returns what is wrong if one is accepted that must not be."""
        whose = f"{effect.uid} in {effect.incarnation}"
        guarded = [effect.uid, *([f"mutex {effect.mutex}"] if effect.mutex else [])]
        if any(effect.token < self._highest.get(key, (0, ""))[0] for key in guarded):
            self.refused += 1
            return None
        self.taken += 1
        for key in guarded:
            highest, holder = self._highest.get(key, (0, ""))
            if effect.token == highest and holder != whose:
                return f"effects on {key} by {holder} and by {whose} carry the same fencing token {highest}"
            self._highest[key] = effect.token, whose
        return None


class _Run:
    """One activation in its runner."""

    def __init__(self, activate: frames.Activate) -> None:
        self.activate = activate
        self.code: Generator[Any, None, None] | None = None
        self.is_active = False
        self.is_parked = False
        self.is_flushing = False
        self.is_over = False
        self.was_canceled = False
        self.flushed = 0
        self.wants_flush = 0
        self.arrived: dict[str, Any] = {}
        self.awaited: set[str] = set()

    @property
    def number(self) -> int:
        return self.activate.activation


class SimulatedPool:
    """In place of ``kontinue_engine.pool.pool.Pool``; belongs to the process whose loop is running."""

    def __init__(self, options: Any, listener: Any) -> None:
        self._process = asyncio.get_running_loop().process  # type: ignore[attr-defined]
        self._process.pool = self
        self._world = self._process.world
        self._listener = listener
        self._runs: dict[int, _Run] = {}
        self._ready: deque[_Run] = deque()
        self._is_held = False
        self._frozen_by: set[str] = set()
        self._is_dead = False
        self._thaws: list[_Run] = []

    # What a replica needs.

    async def start(self) -> frames.AppLoaded:
        await asyncio.sleep(self._world.rng.uniform(0.05, 0.3))
        functions = [
            frames.FunctionDescription(name, is_async=False, takes_context=True, limit=limit)
            for name, limit in ((FUNCTION, 0), (LIMITED, LIMIT))
        ]
        return frames.AppLoaded(1, self._world.GROUP, self._process.build, functions)

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        self.die()

    def runners(self) -> list[Any]:
        class Runner:
            pid = 1
            colour = "sync"

        return [Runner()]

    def freeze(self) -> None:
        self._frozen_by.add("fence")

    def thaw(self) -> None:
        self._frozen_by.discard("fence")
        self._go_on()

    def freeze_process(self) -> None:
        """The machine sleeps."""
        self._frozen_by.add("machine")

    def thaw_process(self) -> None:
        """The machine is awake."""
        self._frozen_by.discard("machine")
        self._go_on()

    def _go_on(self) -> None:
        if self._frozen_by:
            return
        thaws, self._thaws = self._thaws, []
        for run in thaws:
            self._continue(run)
        self._pump()

    def hold(self) -> None:
        self._is_held = True

    def submit(self, activate: frames.Activate, *, alone: bool = False) -> None:
        run = _Run(activate)
        self._runs[run.number] = run
        self._ready.append(run)
        self._later(self._pump)

    def send(self, command: frames.Command) -> None:
        self._later(self._receive, command)

    def forget(self, activation: int) -> None:
        run = self._runs.pop(activation, None)
        if run is not None:
            self._end(run)

    def kill_activation(self, activation: int) -> None:
        self._later(self._lose, activation, CRASHED)

    # What the world does.

    def die(self) -> None:
        """Every runner is dead from now on."""
        self._is_dead = True
        self._runs.clear()
        self._ready.clear()

    def begun(self) -> list[_Run]:
        """Return what runs, or is parked with code that has run."""
        return [run for run in self._runs.values() if run.code is not None and not run.is_over]

    def crash_one(self) -> None:
        """The kernel kills a runner with something in it."""
        active = [run.number for run in self._runs.values() if run.is_active]
        if active:
            self._lose(self._world.rng.choice(active), CRASHED)

    def evict_one(self) -> None:
        """Memory is short: a runner that only has parked activations is ended."""
        parked = [run.number for run in self._runs.values() if run.is_parked]
        if parked:
            self._lose(self._world.rng.choice(parked), EVICTED)

    # Runners.

    def _later(self, action: Any, *arguments: Any) -> None:
        self._world.timeline.after(0.001, self._if_alive, action, *arguments)

    def _if_alive(self, action: Any, *arguments: Any) -> None:
        if not self._is_dead:
            action(*arguments)

    def _pump(self) -> None:
        active = sum(run.is_active for run in self._runs.values())
        while self._ready and active < SLOTS and not self._frozen_by:
            run = self._ready[0]
            if run.code is None and self._is_held:
                return
            self._ready.popleft()
            if run.is_over:
                continue
            active += 1
            run.is_active, run.is_parked = True, False
            if run.code is None:
                run.code = self._play(run)
                self._world.check_runs()
            self._report(frames.Running(run.number))
            self._continue(run)

    def _continue(self, run: _Run) -> None:
        """Let the code go on until it waits."""
        if self._is_dead or run.is_over:
            return
        if self._frozen_by:
            self._thaws.append(run)
            return
        assert run.code is not None
        run.is_flushing = False
        if run.was_canceled:
            self._end(run)
            self._report(frames.Interrupted(run.number))
            self._pump()
            return
        wait = next(run.code, None)
        if wait is None:
            self._end(run)
            self._pump()
        elif isinstance(wait, float):
            self._world.timeline.after(wait, self._continue, run)
        elif isinstance(wait, list):
            run.is_active, run.is_parked = False, True
            self._report(frames.Waiting(run.number, wait))
            self._pump()
        else:
            run.is_flushing = True

    def _play(self, run: _Run) -> Generator[Any, None, None]:
        """Run the program; yields seconds, what it parks for, or "flush"."""
        activate = run.activate
        memo = json.loads(activate.memo) if activate.memo else {}
        done = {record["id"]: record for record in memo.get("records", [])}
        pending: list[frames.EncodedRecord] = []
        program: programs.Program = json.loads(activate.arguments)["do"]
        total = seq = 0

        def record(step: str, kind: RecordKind, value: int) -> None:
            nonlocal seq
            raw = msgspec.Raw(json.dumps(value).encode())
            made = Record(id=step, kind=kind, name="s", digest="d", seq=seq, at_ms=1, value=raw)
            pending.append(frames.EncodedRecord(step, encode_record(made)))

        for number, operation in enumerate(program):
            step = str(number)
            total += 1
            if "fails" in operation:
                if activate.attempt <= operation["fails"]:
                    blamed = [seq] if operation["blames"] and seq else []
                    planned = frames.ErrorInfo("Planned", f"attempt {activate.attempt}")
                    self._report(frames.Failed(run.number, "UserError", planned, pending, blamed))
                    return
            elif "step" in operation:
                seq += 1
                if step in done:
                    continue
                problem = self._effect(run)
                yield operation["step"] + 0.0
                self._world.on_progress(self._process)
                if problem:
                    self._report(frames.Failed(run.number, "UserError", frames.ErrorInfo("Fenced", problem)))
                    return
                record(step, RecordKind.STEP, 1)
                run.wants_flush += 1
                self._report(frames.RecordsProduced(run.number, run.wants_flush, pending))
                pending = []
                yield "flush"
            elif "sleep" in operation:
                seq += 1
                if step in done:
                    continue
                duration_ms = int(operation["sleep"] * 1000)
                yield from self._wait(run, {step: frames.StartTimer(duration_ms)})
                record(step, RecordKind.TIMER, 0)
            else:
                wanted: dict[str, Any] = {}
                for index, child in enumerate(operation["children"]):
                    child_step = f"{step}.{index}"
                    if child_step not in done:
                        arguments = json.dumps({"do": child["do"]}).encode()
                        name = programs.child_name(activate.execution, child_step)
                        spec = json.dumps({"mutex": {"name": child["mutex"]}}).encode() if child["mutex"] else b""
                        wanted[child_step] = frames.CreateChild(
                            name, FUNCTION, arguments, "digest", spec=spec, leaves_shard=child["leaves"]
                        )
                if wanted:
                    yield from self._wait(run, wanted)
                for index in range(len(operation["children"])):
                    child_step = f"{step}.{index}"
                    seq += 1
                    if child_step in done:
                        total += int(done[child_step]["value"])
                        continue
                    outcome = run.arrived[child_step]
                    value = json.loads(outcome.result) if outcome.result else 0
                    total += value
                    record(child_step, RecordKind.CHILD, value)
        self._report(frames.Completed(run.number, json.dumps(total).encode(), pending))

    def _wait(self, run: _Run, wanted: dict[str, Any]) -> Generator[Any, None, None]:
        run.awaited = set(wanted)
        for step, command in wanted.items():
            self._report(frames.StepRequested(run.number, step, command))
        while run.awaited:
            yield [
                frames.WaitingItem("Timer", "nap", step)
                if isinstance(wanted[step], frames.StartTimer)
                else frames.WaitingItem("Execution", wanted[step].name, step)
                for step in sorted(run.awaited)
            ]

    def _effect(self, run: _Run) -> str:
        """Do something outside; it may take long to get there."""
        rng, activate = self._world.rng, run.activate
        late_s = rng.choice([0.0, 0.0, 0.001, 0.01, rng.uniform(0, 20)])
        refused = self._world.ledger.refused
        effect = Effect(
            uid=activate.uid,
            token=activate.fencing_token,
            incarnation=self._process.incarnation,
            mutex=self._world.mutex_of(activate.execution),
        )
        self._world.on_effect(self._process, effect)
        if late_s:
            self._world.timeline.after(late_s, self._world.take_effect, effect)
            return ""
        self._world.take_effect(effect)
        return "the ledger refused it" if self._world.ledger.refused > refused else ""

    def _receive(self, command: frames.Command) -> None:
        assert not isinstance(command, frames.Activate)
        run = self._runs.get(command.activation)
        if run is None or run.is_over:
            return
        match command:
            case frames.StepRecorded(flush=flush):
                run.flushed = max(run.flushed, flush)
                if run.is_flushing and run.flushed >= run.wants_flush:
                    self._continue(run)
            case frames.StepArrived(step=step, outcome=outcome):
                if step in run.awaited:
                    run.awaited.discard(step)
                    run.arrived[step] = outcome
                    if run.is_parked:
                        self._wake(run)
            case frames.StepRejected(error=error):
                self._end(run)
                self._report(frames.Failed(run.number, "UserError", error))
                self._pump()
            case frames.CancelActivation():
                run.was_canceled = True
                if run.code is None:
                    self._end(run)
                    self._report(frames.Interrupted(run.number))
                elif self._world.rng.random() < 0.8:  # the rest ignores it until it is killed
                    self._wake(run)

    def _wake(self, run: _Run) -> None:
        if run.is_parked and run not in self._ready:
            self._ready.append(run)
            self._pump()
        elif run.is_flushing:
            self._continue(run)

    def _end(self, run: _Run) -> None:
        run.is_over = True
        run.is_active = run.is_parked = False
        if run in self._ready:
            self._ready.remove(run)

    def _lose(self, activation: int, reason: str) -> None:
        run = self._runs.pop(activation, None)
        if run is None or self._is_dead:
            return
        was_active = run.is_active
        self._end(run)
        self._world.deaths_of[run.activate.uid] += was_active
        self._tell(
            self._listener.on_lost, activation, was_active=was_active, was_alone=True, reason=reason, message="killed"
        )
        self._pump()

    def _report(self, frame: Any) -> None:
        self._tell(self._listener.on_frame, frame)

    def _tell(self, callback: Any, *arguments: Any, **named: Any) -> None:
        self._later(lambda: self._process.loop.deliver(lambda: callback(*arguments, **named)))
