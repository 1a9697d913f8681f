import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from kontinue_engine.pool.options import PoolOptions
from kontinue_engine.pool.pool import Pool
from kontinue_engine.wire import frames

FUNCTIONS = """
import random

@app.function
def double(x: int) -> int:
    return 2 * x

@app.function
async def slow_double(x: int) -> int:
    import asyncio
    await asyncio.sleep(0.05)
    return 2 * x

@app.function
def nap(s: float, until: str = "") -> float:
    time.sleep(s)
    while until and not os.path.exists(until):
        time.sleep(0.005)
    return s

@app.function
def draw() -> float:
    nap.fn(0.1)
    return random.random()

@app.function
def modules() -> list[str]:
    return sorted(sys.modules)

@app.function
def process() -> dict[str, int]:
    return {
        "pid": os.getpid(), "session": os.getsid(0), "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "hash": hash("kontinue"), "stdin": len(sys.stdin.read()),
    }

@app.function
def descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return found
"""


async def test_functions_run_on_all_runners_at_once(start_pool: Any, tmp_path: Path) -> None:
    """Two sync runners do two things at a time, and give the right answers."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    naps = [running.submit("nap", s=0.01, until=str(tmp_path / "go")) for _ in range(2)]
    for activation in naps:
        await running.running(activation)
    assert not running.heard.ends
    (tmp_path / "go").touch()
    assert [await running.result(activation) for activation in naps] == [0.01, 0.01]
    assert [await running.call("double", x=x) for x in range(5)] == [0, 2, 4, 6, 8]


async def test_colours_have_runners_of_their_own(start_pool: Any) -> None:
    """Async functions share one runner, on which many are active at once; sync ones never run there."""
    running = await start_pool(FUNCTIONS, sync_runners=1)
    assert [runner.colour for runner in running.pool.runners()] == ["sync", "async"]
    activations = [running.submit("slow_double", x=x) for x in range(50)]
    await running.heard.until(lambda: len(running.pool.runners()[1].activations) == 50)
    assert [await running.result(activation) for activation in activations] == [2 * x for x in range(50)]


def test_the_pool_works_on_uvloop(tmp_path: Any) -> None:
    """The supervisor's own loop is uvloop."""
    (tmp_path / "tasks.py").write_text(
        "from kontinue import App\napp = App(group='g')\n@app.function\ndef double(x: int) -> int: return 2 * x\n"
    )
    ended: list[frames.RunnerEvent] = []

    class Listener:
        def on_frame(self, frame: frames.RunnerEvent) -> None:
            ended.append(frame)

        def on_lost(self, activation: int, **_: Any) -> None: ...

        def on_log(self, runner_pid: int, line: frames.LogLine) -> None: ...

    async def run() -> None:
        pool = Pool(PoolOptions(app="tasks:app", app_dir=str(tmp_path), sync_runners=2), Listener())
        await pool.start()
        for number in range(1, 501):
            arguments = b'{"x":%d}' % number
            pool.submit(frames.Activate(number, "d", f"e{number}", "u", "double", arguments, b"", 1, 0, 0, 0, 0))
        while sum(isinstance(event, frames.Completed) for event in ended) < 500:
            await asyncio.sleep(0.01)
        await pool.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(run(), 60))
    results = {event.activation: event.result for event in ended if isinstance(event, frames.Completed)}
    assert results == {number: b"%d" % (2 * number) for number in range(1, 501)}


async def test_random_numbers_differ_between_runners(start_pool: Any) -> None:
    """Forks of one zygote do not continue one random sequence."""
    running = await start_pool(FUNCTIONS + "\nrandom.seed(42)\n", sync_runners=2)
    draws = [running.submit("draw") for _ in range(2)]
    numbers = {await running.result(activation) for activation in draws}
    assert len(numbers) == 2


async def test_a_ready_runner_has_nothing_heavy_loaded(start_pool: Any) -> None:
    """Memory and start time of runners: no HTTP library, no command line, no Kubernetes client."""
    running = await start_pool(FUNCTIONS)
    loaded = {name.partition(".")[0] for name in await running.call("modules")}
    heavy = {"typer", "click", "aiohttp", "kubernetes", "uvloop", "rich", "yaml", "psutil", "orjson", "httptools"}
    assert not loaded & (heavy | {"jsonschema_rs"})
    names = await running.call("modules")
    assert not [name for name in names if name.startswith(("kontinue.kube", "kontinue.client", "kontinue_engine.pool"))]


async def test_the_supervisor_never_imports_user_code(start_pool: Any) -> None:
    """The user's module is loaded in the zygote only."""
    await start_pool(FUNCTIONS)
    assert "tasks" not in sys.modules


async def test_a_runner_is_isolated(start_pool: Any) -> None:
    """Its own session (Ctrl-C does not reach it), polite, hash seed pinned, nothing on stdin."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    found = await running.call("process")
    assert found["session"] != os.getsid(0)
    assert found["nice"] >= 10
    assert found["stdin"] == 0
    assert found["pid"] in [runner.pid for runner in running.pool.runners()]
    again = await start_pool(FUNCTIONS)
    assert (await again.call("process"))["hash"] == found["hash"]


async def test_a_runner_holds_no_pipe_of_another(start_pool: Any) -> None:
    """Or the end of a dead runner's pipe would never be seen: 2 protocol pipes and one for output, no socket."""
    running = await start_pool(FUNCTIONS, sync_runners=3)
    found = await running.call("descriptors")
    assert len({name for name in found if name.startswith("pipe:")}) == 3
    assert not [name for name in found if name.startswith("socket:")]


async def test_threads_left_by_the_import_make_runners_start_by_exec(start_pool: Any) -> None:
    """Forking beside threads is not safe; the operator is told, and everything works."""
    source = "import threading\nthreading.Thread(target=time.sleep, args=[600], daemon=True, name='ticker').start()\n"
    running = await start_pool(source + FUNCTIONS)
    (warning,) = running.app.warnings
    assert "importing tasks:app left 1 threads running (ticker)" in warning
    assert await running.call("double", x=4) == 8
    assert (await running.call("process"))["nice"] >= 10


async def test_short_work_is_not_stuck_behind_work_that_turns_out_long(start_pool: Any, tmp_path: Path) -> None:
    """What was given to a runner in advance is recalled when another runner is idle."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    for _ in range(6):
        await running.call("nap", s=0.001)
    long = running.submit("nap", s=0.001, until=str(tmp_path / "go"))
    short = [running.submit("nap", s=0.001) for _ in range(40)]
    for activation in short:
        await running.result(activation)
    assert long not in running.heard.ends
    (tmp_path / "go").touch()
    assert await running.result(long) == 0.001


async def test_a_queued_activation_is_canceled_or_forgotten_without_starting(start_pool: Any) -> None:
    """Cancel is answered as by a runner; of a forgotten one nothing is heard."""
    running = await start_pool(FUNCTIONS)
    first = running.submit("nap", s=0.1)
    canceled = running.submit("nap", s=0.1)
    forgotten = running.submit("nap", s=0.1)
    running.pool.send(frames.CancelActivation(canceled, "stop"))
    running.pool.forget(forgotten)
    await running.result(first)
    last = running.submit("nap", s=0.0)
    await running.result(last)
    assert running.heard.ends[canceled] == frames.Interrupted(canceled)
    assert {event.activation for event in running.heard.frames} == {first, canceled, last}


async def test_a_function_that_the_app_has_not_is_refused(start_pool: Any) -> None:
    """The supervisor should have looked it up."""
    running = await start_pool(FUNCTIONS)
    with pytest.raises(ValueError, match="no function 'nope'"):
        running.submit("nope")


async def test_a_held_pool_finishes_what_runs_and_starts_nothing_more(start_pool: Any, tmp_path: Path) -> None:
    """A worker that drains leaves what is queued to the next one."""
    running = await start_pool(FUNCTIONS)
    for _ in range(5):
        await running.call("nap", s=0.0)
    busy = running.submit("nap", s=0.0, until=str(tmp_path / "go"))
    queued = [running.submit("nap", s=0.0) for _ in range(4)]
    await running.running(busy)
    running.pool.hold()
    await running.heard.until(lambda: [one.activations for one in running.pool.runners()] == [(busy,), ()])
    (tmp_path / "go").touch()
    assert await running.result(busy) == 0.0
    await asyncio.sleep(0.1)
    assert not any(frames.Running(activation) in running.heard.frames for activation in queued)
