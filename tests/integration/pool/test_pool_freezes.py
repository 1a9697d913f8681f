"""A replica that may have lost its Lease stops user code where it is, and lets it go on when nobody has taken over."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from kontinue_engine.kube.process_identity import process_start

FUNCTIONS = """
import asyncio
from pathlib import Path

@app.function
def count(file: str) -> int:
    number = 0
    while not Path(file + ".stop").exists():
        number += 1
        Path(file).write_text(str(number))
    return number

@app.function
async def async_count(file: str) -> int:
    number = 0
    while not Path(file + ".stop").exists():
        number += 1
        Path(file).write_text(str(number))
        await asyncio.sleep(0)
    return number

@app.function
def double(number: int) -> int:
    return 2 * number
"""


def state_of(pid: int) -> str:
    """Return the state of a process as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def until_stopped(running: Any) -> None:
    await running.heard.until(lambda: all(state_of(runner.pid) == "T" for runner in running.pool.runners()))


async def started(running: Any, function: str, file: Path) -> int:
    activation = running.submit(function, file=str(file))
    await running.heard.until(file.exists)
    return activation


async def test_frozen_code_has_no_effects_and_goes_on_where_it_was(start_pool: Any, tmp_path: Path) -> None:
    """Sync and async code alike; freezing twice is freezing once."""
    running = await start_pool(FUNCTIONS)
    files = {"count": tmp_path / "sync", "async_count": tmp_path / "async"}
    activations = [await started(running, function, file) for function, file in files.items()]
    running.pool.freeze()
    running.pool.freeze()
    await until_stopped(running)
    then = [file.read_text() for file in files.values()]
    for file in files.values():
        (tmp_path / f"{file.name}.stop").touch()
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert [file.read_text() for file in files.values()] == then
    assert running.heard.ends == {}
    running.pool.thaw()
    counted = [await running.result(activation) for activation in activations]
    assert all(int(before or 0) <= after for before, after in zip(then, counted, strict=True))


async def test_nothing_is_started_while_the_pool_is_frozen(start_pool: Any) -> None:
    """What is submitted then starts when it thaws."""
    running = await start_pool(FUNCTIONS)
    await running.ready(2)
    running.pool.freeze()
    await until_stopped(running)
    activation = running.submit("double", number=21)
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert running.heard.frames == []
    running.pool.thaw()
    assert await running.result(activation) == 42


async def test_a_frozen_runner_can_be_killed_and_is_replaced_by_one_that_does_not_run(
    start_pool: Any, tmp_path: Path
) -> None:
    """Out of memory, say: its successor works only after the thaw."""
    running = await start_pool(FUNCTIONS)
    activation = await started(running, "count", tmp_path / "file")
    (pid,) = [runner.pid for runner in running.pool.runners() if runner.colour == "sync"]
    running.pool.freeze()
    os.kill(pid, signal.SIGKILL)
    lost = await running.lost(activation)
    assert lost.was_active
    again = running.submit("double", number=4)
    await running.heard.until(
        lambda: [runner.state for runner in running.pool.runners() if runner.colour == "sync"] == ["Ready"]
    )
    assert again not in running.heard.ends
    running.pool.thaw()
    assert await running.result(again) == 8


async def test_a_frozen_pool_stops_without_being_thawed(start_pool: Any, tmp_path: Path) -> None:
    """When somebody else has the Lease its runners are killed as they are."""
    running = await start_pool(FUNCTIONS)
    await started(running, "count", tmp_path / "file")
    running.pool.freeze()
    await until_stopped(running)
    pids = [runner.pid for runner in running.pool.runners()]
    async with asyncio.timeout(60):
        await running.pool.stop()
    await running.heard.until(lambda: not any(process_start(pid) for pid in pids))
