"""A runner of which the zygote has not told yet: it may be READY before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any, cast

import psutil

from kontinue_engine.pool.runner_process import RunnerOwner, RunnerProcess


class Listener:
    """Hears when it has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def on_ended(self, runner: RunnerProcess) -> None:
        del runner
        self.ended.set()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def test_what_is_frozen_before_its_process_is_known_is_frozen_then() -> None:
    """And goes on when it is thawed; nothing runs where a Lease may be somebody else's."""
    listener = Listener()
    runner = RunnerProcess(
        number=1, colour="sync", loop=asyncio.get_running_loop(), owner=cast("RunnerOwner", listener)
    )
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        try:
            runner.freeze()
            runner.forked(process.pid)
            async with asyncio.timeout(30):
                while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
                    await asyncio.sleep(0.01)
                runner.thaw()
                while psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                    await asyncio.sleep(0.01)
        finally:
            process.kill()
    runner.exited(-9)
    async with asyncio.timeout(30):
        await listener.ended.wait()
