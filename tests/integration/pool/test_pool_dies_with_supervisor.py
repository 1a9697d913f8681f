import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from process_state import is_running

SUPERVISOR = """
import asyncio, sys
from kontinue_engine.pool.options import PoolOptions
from kontinue_engine.pool.pool import Pool
from kontinue_engine.wire import frames

running = set()

class Listener:
    def on_frame(self, frame):
        if isinstance(frame, frames.Running): running.add(frame.activation)
    def on_lost(self, activation, **how): print("lost", activation, how, flush=True)
    def on_log(self, runner_pid, line): print(line.text, flush=True)

async def main():
    pool = Pool(PoolOptions(app="tasks:app", app_dir=sys.argv[1], sync_runners=2), Listener())
    app = await pool.start()
    for number, function in [(1, "hold_the_gil"), (2, "guard")]:
        pool.submit(frames.Activate(number, "d", "e", "u", function, b"{}", b"", 1, 0, 0, 0, 0))
    while len(running) < 2 or not all(runner.pid for runner in pool.runners()):
        await asyncio.sleep(0.01)
    print("pids", app.pid, *[runner.pid for runner in pool.runners()], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

TASKS = """
import ctypes, os, time
from kontinue import App
app = App(group="g")

@app.function
def hold_the_gil() -> None:
    ctypes.PyDLL(None).sleep(600)

@app.function
def guard() -> None:
    try:
        time.sleep(600)
    finally:
        open(os.path.join(os.path.dirname(__file__), "finally"), "w").close()
"""


def test_zygote_and_runners_die_with_a_killed_supervisor_also_while_c_code_holds_the_gil(tmp_path: Path) -> None:
    """Nothing is left, and no finally block of the user's has run."""
    (tmp_path / "tasks.py").write_text(TASKS)
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("pids"))
        pids = [int(pid) for pid in line.split()[1:]]
        assert len(pids) == 3
        assert all(is_running(pid) for pid in pids)
        os.kill(process.pid, signal.SIGKILL)
        while any(is_running(pid) for pid in pids):  # the C code sleeps for longer than a test may take
            time.sleep(0.01)
    assert not (tmp_path / "finally").exists()
