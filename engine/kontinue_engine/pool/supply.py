"""Internal. Keeps the wanted runners alive: zygote, one slot per runner, restarts with back-off, limits of memory.

Owned by ``pool.pool``, which knows what runs on the runners; this module does not. It decides when a process is started
and when one is killed for its memory; ``pool.runner_process`` and ``pool.zygote_process`` are the processes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final, Protocol

from kontinue_engine.errors import AppLoadFailedError, StartupError
from kontinue_engine.pool import limits, memory
from kontinue_engine.pool.options import Colour, LostReason, PoolOptions, RunnerState
from kontinue_engine.pool.runner_process import RunnerOwner, RunnerProcess, Verdict
from kontinue_engine.pool.zygote_process import ZygoteProcess
from kontinue_engine.processes import describe_exit
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_log: Final = get_logger(__name__)

COLOURS: Final[tuple[Colour, ...]] = ("sync", "async")

_MEMORY_WATCH_S: Final = 1.0
"""A judgement: the limit leaves 256 MiB for what runners take in between; past it the kernel kills the container."""

_RESTART_DELAY_S: Final = 0.1
_MAX_RESTART_DELAY_S: Final = 10.0

_CALM_S: Final = 10.0
"""A zygote that has lived for so long ends a series of deaths. Not less than the longest delay: code that kills it at
once would look innocent otherwise."""

_STOP_WAIT_S: Final = 5.0
"""A killed process that is not gone by then hangs in the kernel; the supervisor must end all the same."""


class SupplyOwner(RunnerOwner, Protocol):
    """Who is told: the pool."""

    def drain(self, runner: RunnerProcess, message: str) -> None:
        """Have the runner end once it is idle, if that can begin now: it has become too large."""
        ...

    def fail(self, error: BaseException) -> None:
        """Have the worker end."""
        ...

    def on_calm(self) -> None:
        """A series of deaths of the zygote is over."""
        ...


class _Slot:
    """A place for one runner; the runner in it changes.

    Attributes:
        runner: in it; None until one is started.
        leaving: the one before, which ends as soon as nothing is active on it.
        failures: runners in a row that ended without having started anything.
    """

    def __init__(self, colour: Colour) -> None:
        self.colour: Colour = colour
        self.runner: RunnerProcess | None = None
        self.leaving: RunnerProcess | None = None
        self.failures = 0


class Supply:
    """Processes of one pool.

    Attributes:
        app: what the user's module declares; None until it is loaded.
        runners: those that exist, by number, oldest first.
        zygote_deaths: how often the zygote has died.
    """

    def __init__(self, options: PoolOptions, *, owner: SupplyOwner) -> None:
        self.app: frames.AppLoaded | None = None
        self.runners: dict[int, RunnerProcess] = {}
        self._options = options
        self._owner = owner
        self._zygote: ZygoteProcess | None = None
        self.zygote_deaths = 0
        self._zygote_failures = 0
        self._load_failure: AppLoadFailedError | None = None
        self._rules = memory.make_rules(options.memory_limit_bytes, options.recycle_above_bytes)
        self._oom_kills = memory.OomKills(limits.oom_kills())
        self._slots: list[_Slot] = []
        self._next_number = 1
        self._timers: set[asyncio.TimerHandle] = set()
        self._has_started = False
        self._is_stopping = False
        self._changed = asyncio.Event()

    async def start(self) -> frames.AppLoaded:
        """Start zygote and runners; return when every runner is READY.

        Raises:
            AppLoadFailedError: the user's module cannot be used; ``stop`` is still needed.
        """
        self._start_zygote()
        self._after(_MEMORY_WATCH_S, self._watch_memory)
        while self.app is None or not all(_is_ready(slot) for slot in self._slots):
            if self._load_failure is not None:
                raise self._load_failure
            self._changed.clear()
            await self._changed.wait()
        self._has_started = True
        return self.app

    async def stop(self) -> None:
        """Kill every process and wait for their end."""
        self._is_stopping = True
        for timer in self._timers:
            timer.cancel()
        for runner in list(self.runners.values()):
            runner.kill(Verdict(LostReason.EVICTED, "the pool stopped", charge=False))
            runner.orphaned()
        if self._zygote is not None:
            self._zygote.kill()
        try:
            async with asyncio.timeout(_STOP_WAIT_S):
                while self._zygote is not None or self.runners:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.error("killed processes do not end", pids=[runner.pid for runner in self.runners.values()])

    # Runners.

    def ready(self, runner: RunnerProcess) -> None:
        """A runner has become READY."""
        self._changed.set()
        if self._has_started:  # the worker says which are there when it begins
            _log.info("runner ready", runner=runner.pid, colour=runner.colour)

    def load_failed(self, message: str, traceback: str) -> None:
        """The user's module does not load, in the zygote or in a runner that imports it itself."""
        self._load_failure = AppLoadFailedError(message, traceback)
        self._changed.set()
        if self.app is not None:
            _log.error("app does not load any more", message=message, traceback=traceback)

    def ended(self, runner: RunnerProcess) -> Verdict | None:
        """A runner is gone: return why, after arranging for another one; None when the pool is stopping."""
        del self.runners[runner.number]
        self._changed.set()
        if self._is_stopping:
            return None
        verdict = runner.verdict or self._verdict_on("runner", runner.exit_code)
        log = _log.warning if verdict.charge else _log.info
        log("runner ended", runner=runner.pid, colour=runner.colour, reason=verdict.reason, message=verdict.message)
        slot = self._slot_of(runner)
        if slot.leaving is runner:
            slot.leaving = None
            return verdict
        slot.runner = None
        if verdict.charge and runner.started_count == 0 and self._zygote is not None:
            slot.failures += 1
            self._after(_delay_s(slot.failures), self._start_runner, slot)
        else:
            slot.failures = 0
            self._start_runner(slot)
        return verdict

    def may_leave(self, runner: RunnerProcess) -> bool:
        """Tell whether the runner may be drained now: of each slot one at a time is on its way out."""
        return self._slot_of(runner).leaving is None

    def leave(self, runner: RunnerProcess) -> None:
        """It takes no more work: start its successor at once, if what is active there could go on beside other work.

        A runner with one slot takes nothing else anyway until that is free; a successor beside it would be one process
        more than there are cores for.
        """
        slot = self._slot_of(runner)
        if runner.colour == "async" and slot.runner is runner:
            slot.leaving, slot.runner = runner, None
            self._start_runner(slot)

    def _slot_of(self, runner: RunnerProcess) -> _Slot:
        return next(slot for slot in self._slots if runner in (slot.runner, slot.leaving))

    def _verdict_on(self, what: str, code: int | None) -> Verdict:
        """Return why a process has ended that nobody here has killed."""
        if code == -signal.SIGKILL and self._oom_kills.has_struck(limits.oom_kills()):
            message = f"the kernel killed the {what}: {_describe_container(limits.container_memory_limit())}"
            return Verdict(LostReason.OUT_OF_MEMORY, message, charge=True)
        return Verdict(LostReason.RUNNER_CRASHED, f"the {what} {describe_exit(code)}", charge=True)

    def _start_runner(self, slot: _Slot) -> None:
        if self._zygote is None or slot.runner is not None:
            return  # a new zygote starts a runner in every empty slot
        runner = RunnerProcess(
            number=self._next_number, colour=slot.colour, loop=asyncio.get_running_loop(), owner=self._owner
        )
        self._next_number += 1
        slot.runner = runner
        self.runners[runner.number] = runner
        self._zygote.fork(runner)

    # The zygote, and what it says.

    @property
    def is_unsettled(self) -> bool:
        """The zygote dies again and again: who is to blame shows if one activation is active at a time."""
        return self._zygote_failures > 1

    def _start_zygote(self) -> None:
        self._zygote = ZygoteProcess(self._options, loop=asyncio.get_running_loop(), owner=self)
        self._after(_CALM_S, self._calm, self._zygote)

    def _calm(self, zygote: ZygoteProcess) -> None:
        if zygote is self._zygote:
            self._zygote_failures = 0
            self._owner.on_calm()

    def on_zygote_event(self, event: frames.ZygoteEvent) -> None:
        """Handle what the zygote says."""
        match event:
            case frames.AppLoaded():
                self._on_app_loaded(event)
            case frames.LoadFailed():
                self.load_failed(event.message, event.traceback)
            case frames.RunnerForked() if event.runner in self.runners:
                self.runners[event.runner].forked(event.pid)
            case frames.RunnerExited() if event.runner in self.runners:
                self.runners[event.runner].exited(event.code)

    def _on_app_loaded(self, app: frames.AppLoaded) -> None:
        if self.app is not None and app.build != self.app.build:
            # What runs and its records belong to the old build: a new worker claims them under the new one.
            message = (
                f"the code of {self._options.app} has changed while the worker runs (build {app.build}, was "
                f"{self.app.build}): start the worker again"
            )
            self._owner.fail(StartupError(message))
            return
        self.app = app
        if not self._slots:
            self._slots = self._make_slots(app)
            if self._rules.limit_bytes is None:
                share = limits.runner_memory_limit(limits.container_memory_limit(), len(self._slots))
                self._rules = memory.make_rules(share, self._options.recycle_above_bytes)
        for slot in self._slots:
            self._start_runner(slot)
        self._changed.set()

    def _make_slots(self, app: frames.AppLoaded) -> list[_Slot]:
        options = self._options
        sync_runners = limits.default_sync_runners() if options.sync_runners is None else options.sync_runners
        wanted: dict[Colour, int] = {"sync": sync_runners, "async": options.async_runners}
        used = {colour_of(function) for function in app.functions}
        return [_Slot(colour) for colour in COLOURS if colour in used for _ in range(wanted[colour])]

    def on_zygote_ended(self) -> None:
        """The zygote is gone, and the kernel kills its runners: start another one.

        It runs no user code but the module's import, which is the same for all; so what was active on a runner is to
        blame, or an operator. If only one runner had something to do, it is known which.
        """
        zygote, self._zygote = self._zygote, None
        self._changed.set()
        end = "" if zygote is None else zygote.end
        message = f"the zygote {end}, and its runners with it"
        busy = sum(1 for runner in self.runners.values() if runner.running_code or runner.unstarted)
        verdict = Verdict(LostReason.RUNNER_CRASHED, message, charge=True, is_shared=busy > 1)
        for runner in list(self.runners.values()):
            runner.kill(verdict)
            runner.orphaned()
        if self._is_stopping:
            return
        if self.app is None:
            if self._load_failure is None:
                tail = "" if zygote is None else zygote.tail
                self.load_failed(f"the process that imports {self._options.app} {end}", tail)
            return
        _log.warning("zygote ended", message=end)
        self.zygote_deaths += 1
        self._zygote_failures += 1
        self._after(_delay_s(self._zygote_failures), self._start_zygote)

    def on_log(self, pid: int, line: frames.LogLine) -> None:
        """Pass on what the user's module wrote when it was imported."""
        self._owner.on_log(pid, line)

    # Memory.

    def _watch_memory(self) -> None:
        self._after(_MEMORY_WATCH_S, self._watch_memory)
        self._oom_kills.look(limits.oom_kills())
        lowest_bytes = self._rules.lowest_bytes
        if lowest_bytes is not None:
            for slot in self._slots:
                self._watch_slot(slot, lowest_bytes)

    def _watch_slot(self, slot: _Slot, lowest_bytes: int) -> None:
        used = 0
        for runner in (slot.runner, slot.leaving):
            if runner is not None and runner.verdict is None:
                used += self._watch_runner(runner, lowest_bytes)
        # The two have room for one. What was active runs again alone, or it could be killed like this again and again.
        limit = self._rules.limit_bytes
        if slot.leaving is not None and limit is not None and used > limit:
            message = f"the runner and its successor used {_mib(used)} of memory, the limit is {_mib(limit)}"
            slot.leaving.kill(Verdict(LostReason.OUT_OF_MEMORY, message, charge=True, is_shared=True))

    def _watch_runner(self, runner: RunnerProcess, lowest_bytes: int) -> int:
        used = memory.used_bytes(runner.pid, lowest_bytes)
        match memory.judge(used, self._rules, has_worked=runner.started_count > 0):
            case memory.Measure.KILL:
                message = f"the runner used {_mib(used)} of memory, the limit is {_mib(self._rules.limit_bytes or 0)}"
                runner.kill(Verdict(LostReason.OUT_OF_MEMORY, message, charge=True))
            case memory.Measure.RECYCLE:
                self._owner.drain(runner, f"the runner was recycled: it used {_mib(used)} of memory")
        return used

    def _after(self, delay_s: float, callback: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            self._timers.discard(timer)
            callback(*arguments)

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)


def colour_of(function: frames.FunctionDescription) -> Colour:
    """Return the pool that runs the function."""
    return "async" if function.is_async else "sync"


def _is_ready(slot: _Slot) -> bool:
    return slot.runner is not None and slot.runner.state is not RunnerState.STARTING


def _delay_s(failures: int) -> float:
    return min(_MAX_RESTART_DELAY_S, _RESTART_DELAY_S * 2.0 ** (failures - 1))


def _mib(amount_bytes: int) -> str:
    return f"{amount_bytes >> 20} MiB"


def _describe_container(limit_bytes: int | None) -> str:
    if limit_bytes is None:
        return "the machine is out of memory"
    return f"the container is out of memory, its limit is {_mib(limit_bytes)}"
