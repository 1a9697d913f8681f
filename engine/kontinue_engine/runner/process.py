"""Internal. A runner process from its first moment to its last: isolate, load nothing more, say Ready, serve the pipe.

Entered in the child of the zygote's fork (``run_forked_runner``) or, where fork is not safe, from ``__main__``
(``run_launched_runner``). User code runs in ``sync_host`` or ``async_host``. Neither function returns: a runner ends by
SIGKILL or ``os._exit``, so that no ``finally`` block of a parked activation runs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import gc
import os
import random
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from kontinue.definition import FunctionDefinition
from kontinue_engine import clock
from kontinue_engine.processes import die_with_parent
from kontinue_engine.runner import async_host, breakdown, channel, current, loader, output, sync_host
from kontinue_engine.wire import frames

_SWITCH_INTERVAL_S: Final = 0.0005
"""How long a CPU-bound thread keeps the GIL while the pipe thread wants it: p99 of a round trip 1.2 ms, not 10."""

_GC_THRESHOLDS_OF_PYTHON: Final = gc.get_threshold()
_GC_THRESHOLD: Final = 10_000
"""New containers between two collections: most of an activation's die by themselves. Judgement: 1-2 MiB."""

_ENDS_OUTPUT: Final = (frames.Waiting, frames.Completed, frames.Failed, frames.Mismatched, frames.Interrupted)

Functions = Mapping[str, FunctionDefinition[..., Any]]


class Runner:
    """What both colours share."""

    def __init__(self, functions: Functions, pipes: channel.Channel, streams: output.Output) -> None:
        self._functions = functions
        self._pipes = pipes
        self._streams = streams
        self._now_ms = clock.SystemClock().now_ms
        self._is_flush_due = False

    def serve(self, colour: str) -> None:
        """Serve the command pipe until the process ends."""
        if gc.get_threshold() == _GC_THRESHOLDS_OF_PYTHON:  # else the user's module has chosen
            gc.set_threshold(_GC_THRESHOLD)
        self._streams.attach(self._pipes.send, place=_place, now_ms=self._now_ms)
        if colour == "sync":
            self._serve_sync()
        else:
            asyncio.new_event_loop().run_until_complete(self._serve_async())

    def _serve_sync(self) -> None:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        host = sync_host.SyncHost(self._functions, send=self._send, now_ms=self._now_ms)
        self._pipes.send(frames.Ready(os.getpid()))
        while True:
            for command in self._pipes.receive():
                host.receive(command)

    async def _serve_async(self) -> None:
        loop = asyncio.get_running_loop()
        host = async_host.AsyncHost(
            self._functions, send=functools.partial(self._send_async, loop), now_ms=self._now_ms
        )
        broken: asyncio.Future[None] = loop.create_future()

        def on_readable() -> None:
            try:
                for command in self._pipes.receive():
                    host.receive(command)
            except Exception as error:  # noqa: BLE001 - ends the process, with this traceback
                broken.set_exception(error)

        loop.add_reader(self._pipes.command_fd, on_readable)
        self._pipes.send(frames.Ready(os.getpid()))
        await broken

    def _send(self, event: frames.RunnerEvent) -> None:
        if isinstance(event, _ENDS_OUTPUT):
            self._streams.finish_lines(event.activation)
        self._pipes.send(event)

    def _send_async(self, loop: asyncio.AbstractEventLoop, event: frames.RunnerEvent) -> None:
        """Send requests at the end of this turn of the loop, in one write; what a crash would cost more, at once."""
        if not isinstance(event, frames.RecordsProduced | frames.StepRequested):
            self._send(event)
            return
        self._pipes.collect(event)
        if not self._is_flush_due:
            self._is_flush_due = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        try:
            self._pipes.flush()
        except OSError:
            breakdown.end_process()


def _place() -> tuple[int, str]:
    return current.current_activation.get(), current.current_step_id.get()


def run_forked_runner(
    colour: str, pipes: channel.Channel, output_fd: int, functions: Functions, streams: output.Output, *, nice: int
) -> NoReturn:
    """Be a runner in the child of a fork. The caller has closed every descriptor that is not the runner's."""
    try:
        _isolate(output_fd, nice=nice)
        Runner(functions, pipes, streams).serve(colour)
    finally:
        breakdown.end_process()  # the zygote's code above must never run on in the child


def run_launched_runner(launch: frames.LaunchRunner) -> NoReturn:
    """Be a runner in a process of its own: import the user's module here."""
    try:
        die_with_parent(launch.parent_pid)
        os.set_inheritable(launch.command_fd, False)  # noqa: FBT003 - no keyword exists
        os.set_inheritable(launch.event_fd, False)  # noqa: FBT003 - no keyword exists
        pipes = channel.Channel(command_fd=launch.command_fd, event_fd=launch.event_fd)
        streams = output.Output()
        streams.install()
        try:
            app = loader.load_app(launch.app, launch.app_dir)
        except loader.LoadError as error:
            pipes.send(frames.LoadFailed(error.message, error.traceback))
            os._exit(1)
        _isolate(launch.output_fd, nice=launch.nice)
        Runner(app.functions, pipes, streams).serve(launch.colour)
    finally:
        breakdown.end_process()  # no exit handler of the user's may run


def _isolate(output_fd: int, *, nice: int) -> None:
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    enable_crash_reports()
    # The user's module may have set handlers; a runner that is signalled just dies and is replaced.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def enable_crash_reports() -> None:
    """Have a fatal signal write the Python stack to descriptor 2, which the supervisor logs."""
    faulthandler.enable(file=2)
