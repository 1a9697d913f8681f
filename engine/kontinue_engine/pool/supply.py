"""Internal. Keeps the wanted runners alive: zygote, one slot per runner, restarts with back-off, limits of memory.

Owned by ``pool.pool``, which knows what runs on the runners; this module does not. It decides when a process is started
and when one is killed for its memory; ``pool.runner_process`` and ``pool.zygote_process`` are the processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import psutil

from kontinue_engine.errors import AppLoadFailedError, StartupError
from kontinue_engine.pool import limits
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
        """Let the runner end once it is idle: it has become too large."""
        ...

    def fail(self, error: BaseException) -> None:
        """Have the worker end."""
        ...

    def on_calm(self) -> None:
        """A series of deaths of the zygote is over."""
        ...


class _Slot:
    """A place for one runner; the runner in it changes."""

    def __init__(self, colour: Colour) -> None:
        self.colour: Colour = colour
        self.runner: RunnerProcess | None = None
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
        self._memory_limit = options.memory_limit_bytes
        self._slots: list[_Slot] = []
        self._next_number = 1
        self._timers: set[asyncio.TimerHandle] = set()
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

    def ready(self) -> None:
        """A runner has become READY."""
        self._changed.set()

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
        words = f"the runner {describe_exit(runner.exit_code)}"
        verdict = runner.verdict or Verdict(LostReason.RUNNER_CRASHED, words, charge=True)
        log = _log.warning if verdict.charge else _log.info
        log("runner ended", runner=runner.pid, colour=runner.colour, reason=verdict.reason, message=verdict.message)
        slot = next(slot for slot in self._slots if slot.runner is runner)
        slot.runner = None
        if verdict.charge and runner.started_count == 0 and self._zygote is not None:
            slot.failures += 1
            self._after(_delay_s(slot.failures), self._start_runner, slot)
        else:
            slot.failures = 0
            self._start_runner(slot)
        return verdict

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
            if self._memory_limit is None:
                container = limits.container_memory_limit()
                self._memory_limit = limits.runner_memory_limit(container, len(self._slots))
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
        limit = self._memory_limit
        recycle_above = self._options.recycle_above_bytes
        if limit is None and recycle_above is None:
            return
        for runner in list(self.runners.values()):
            used = _resident_bytes(runner.pid)
            if limit is not None and used > limit and (used := _own_bytes(runner.pid)) > limit:
                message = f"the runner used {used >> 20} MiB of memory, the limit is {limit >> 20} MiB"
                runner.kill(Verdict(LostReason.OUT_OF_MEMORY, message, charge=True))
            elif recycle_above is not None and used > recycle_above and runner.state is RunnerState.READY:
                self._owner.drain(runner, f"the runner was recycled: it used {used >> 20} MiB of memory")

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


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid > 0 else 0
    except psutil.Error:
        return 0


def _own_bytes(pid: int) -> int:
    """Return the resident bytes, of pages shared with the zygote and other runners only the process's part.

    Some milliseconds of work for the kernel: asked only of a process that seems too large.
    """
    try:
        memory = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return _resident_bytes(pid)
    return int(getattr(memory, "pss", memory.rss))
