"""Functions that kill what they should not, and one that minds its own business."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

import psutil

from kontinue import App, ExecutionContext

app = App(group="killers")


@app.function
def kill_group() -> None:
    """Mean one's own children, perhaps."""
    os.killpg(0, signal.SIGKILL)


@app.function
def kill_parent() -> None:
    """Mean whoever started this."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@app.function
def kill_zygote() -> None:
    """Look for the process that starts all runners."""
    psutil.Process(os.getppid()).parent().kill()
    time.sleep(60)


@app.function
def work(path: str) -> int:
    """Use a runner until somebody makes a file."""
    while not os.path.exists(path):
        time.sleep(0.02)
    return 1


@app.function
async def nap(ctx: ExecutionContext, ms: int) -> None:
    """Wait on the runner that many share."""
    await ctx.sleep(timedelta(milliseconds=ms))
