"""Failures after which a worker must end: a pool says so, and does not go on as if nothing had happened."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.errors import StartupError
from kontinue_engine.wire import frames

FUNCTIONS = """
@app.function
def nap(s: float) -> int:
    time.sleep(s)
    return os.getpid()
"""


async def test_an_exception_of_the_listener_ends_the_worker(start_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told would be lost without a word; other runners are still heard until the worker has ended."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    heard = running.heard.on_frame

    def on_frame(frame: frames.RunnerEvent) -> None:
        if isinstance(frame, frames.Completed) and frame.activation == 1:
            raise LookupError("a bug of the controller")
        heard(frame)

    monkeypatch.setattr(running.heard, "on_frame", on_frame)
    going = asyncio.create_task(running.pool.run())
    running.submit("nap", s=0.0)
    with pytest.raises(LookupError, match="a bug of the controller"):
        await asyncio.wait_for(going, 60)
    assert await running.call("nap", s=0.0) > 0


async def test_changed_code_is_not_run_under_the_old_build(start_pool: Any, tmp_path: Path) -> None:
    """A replaced zygote imports what is there now: the worker ends, and is started again with the new build."""
    running = await start_pool(FUNCTIONS)
    source = tmp_path / "tasks.py"
    going = asyncio.create_task(running.pool.run())
    os.kill(running.app.pid, signal.SIGKILL)
    source.write_text(source.read_text() + "# changed\n")
    with pytest.raises(StartupError, match=r"the code of tasks:app has changed .*: start the worker again"):
        await asyncio.wait_for(going, 60)
    assert not running.pool.runners()
