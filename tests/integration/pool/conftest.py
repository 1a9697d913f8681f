"""Pools with real zygotes and runners, and a listener that remembers what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue_engine.pool.options import LostReason, PoolOptions
from kontinue_engine.pool.pool import Pool
from kontinue_engine.wire import frames

DEADLINE_S = 60.0

HEADER = """
import os, signal, sys, time
from datetime import timedelta
from kontinue import App, ExecutionContext, SyncExecutionContext
app = App(group="tests")
"""

_ENDS = (frames.Completed, frames.Failed, frames.Mismatched, frames.Interrupted)


@dataclass
class Lost:
    was_active: bool
    was_alone: bool
    reason: LostReason
    message: str


@dataclass
class Recorder:
    """Remembers everything; ``until`` waits for it."""

    frames: list[frames.RunnerEvent] = field(default_factory=list)
    lost: dict[int, Lost] = field(default_factory=dict)
    lines: list[tuple[int, frames.LogLine]] = field(default_factory=list)
    ends: dict[int, frames.RunnerEvent] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        self.frames.append(frame)
        if isinstance(frame, _ENDS):
            self.ends[frame.activation] = frame
        self.changed.set()

    def on_lost(self, activation: int, *, was_active: bool, was_alone: bool, reason: LostReason, message: str) -> None:
        self.lost[activation] = Lost(was_active, was_alone, reason, message)
        self.changed.set()

    def on_log(self, runner_pid: int, line: frames.LogLine) -> None:
        self.lines.append((runner_pid, line))
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until ``condition`` holds; checked after each callback and every 10 ms."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"never happened; heard {self.frames[-5:]}, lost {self.lost}"
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.01)


class Running:
    """A started pool with its listener."""

    def __init__(self, pool: Pool, app: frames.AppLoaded, heard: Recorder) -> None:
        self.pool = pool
        self.app = app
        self.heard = heard
        self.next_activation = 1

    def submit(self, function: str, *, resumption: int = 0, alone: bool = False, **arguments: Any) -> int:
        activation = self.next_activation
        self.next_activation += 1
        self.pool.submit(
            frames.Activate(
                activation=activation,
                namespace="default",
                execution=f"{function}-{activation}",
                uid=f"uid-{activation}",
                function=function,
                arguments=msgspec.json.encode(arguments),
                memo=b"",
                attempt=1,
                resumption=resumption,
                run_epoch=0,
                created_at_ms=1,
                fencing_token=1,
            ),
            alone=alone,
        )
        return activation

    async def result(self, activation: int) -> Any:
        await self.heard.until(lambda: activation in self.heard.ends)
        end = self.heard.ends[activation]
        assert isinstance(end, frames.Completed), end
        return msgspec.json.decode(end.result)

    async def call(self, function: str, **arguments: Any) -> Any:
        return await self.result(self.submit(function, **arguments))

    async def lost(self, activation: int) -> Lost:
        await self.heard.until(lambda: activation in self.heard.lost)
        return self.heard.lost[activation]

    async def running(self, activation: int) -> None:
        await self.heard.until(lambda: frames.Running(activation) in self.heard.frames)

    async def ready(self, count: int) -> list[int]:
        """Wait until ``count`` runners are READY and return their pids, which the zygote may tell after that."""

        def are_ready() -> bool:
            runners = self.pool.runners()
            return [runner.state for runner in runners] == ["Ready"] * count and all(runner.pid for runner in runners)

        await self.heard.until(are_ready)
        return [runner.pid for runner in self.pool.runners()]


StartPool = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start_pool(tmp_path: Path) -> AsyncIterator[StartPool]:
    """Start a pool for an app with the given source; everything is stopped at the end of the test."""
    pools: list[Pool] = []

    async def start(source: str, *, header: str = HEADER, **options: Any) -> Running:
        (tmp_path / "tasks.py").write_text(header + source)
        heard = Recorder()
        pool = Pool(PoolOptions(app="tasks:app", app_dir=str(tmp_path), **{"sync_runners": 1, **options}), heard)
        pools.append(pool)
        return Running(pool, await pool.start(), heard)

    yield start
    for pool in pools:
        await pool.stop()
        assert pool.runners() == []
