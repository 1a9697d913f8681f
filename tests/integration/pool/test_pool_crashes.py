import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.kube.process_identity import process_start
from kontinue_engine.pool import limits
from kontinue_engine.pool.options import LostReason
from kontinue_engine.wire import frames

FUNCTIONS = """
@app.function
def nap(s: float) -> int:
    time.sleep(s)
    return os.getpid()

@app.function
def hold(path: str) -> int:
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()

@app.function
def die(how: str) -> None:
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    if how == "group":
        os.killpg(0, signal.SIGKILL)
    if how == "parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if how == "garbage":
        for fd in os.listdir("/proc/self/fd"):
            try:
                if int(fd) > 2:
                    os.write(int(fd), b"\\xff" * 16)
            except OSError:
                pass
        time.sleep(60)

@app.function
def kill_zygote() -> None:
    import psutil
    zygote = [one for one in psutil.Process().parents() if "kontinue_engine.runner" in one.cmdline()][-1]
    zygote.kill()
    time.sleep(60)

@app.function
def hoard(mib: int) -> None:
    kept = bytearray(mib << 20)
    for page in range(0, len(kept), 4096):
        kept[page] = 1
    time.sleep(60)

@app.function
def fork_and_exit(path: str) -> None:
    if os.fork() == 0:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        os.rename(path, path + "-written")
        time.sleep(600)
    while not os.path.exists(path + "-written"):
        time.sleep(0.005)
    os._exit(1)

@app.function
def guard(path: str) -> None:
    try:
        time.sleep(0.3)
        open(path + "-finished", "w").close()
    finally:
        open(path + "-finally", "w").close()

@app.function
def parked(ctx: SyncExecutionContext, path: str) -> None:
    try:
        ctx.sleep(timedelta(hours=1))
    finally:
        open(path, "w").close()
"""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("signal", "the runner was killed by SIGKILL"),
        ("segfault", "the runner was killed by SIGSEGV"),
        ("exit", "the runner exited with status 3"),
        ("group", "the runner was killed by SIGKILL"),
        ("parent", "the runner was killed by SIGKILL"),
        ("garbage", "the runner broke the protocol: the peer announces a frame of 4294967295 bytes"),
    ],
)
async def test_a_dying_runner_concerns_only_its_own_activation(
    start_pool: Any, tmp_path: Path, how: str, message: str
) -> None:
    """The other runner goes on, the dead one is replaced at once, and the message says how it died."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    other = running.submit("hold", path=str(tmp_path / "go"))
    await running.running(other)
    victim = running.submit("die", how=how)
    lost = await running.lost(victim)
    assert lost.was_active
    assert lost.reason == "RunnerCrashed"
    assert lost.message.startswith(message)
    assert await running.call("nap", s=0.0) > 0
    assert other not in running.heard.ends
    (tmp_path / "go").touch()
    assert await running.result(other) > 0
    assert set(running.heard.lost) == {victim}
    assert len(await running.ready(2)) == 2


async def test_a_segfault_leaves_the_python_stack_in_the_log(start_pool: Any) -> None:
    """The user sees which line of theirs called the code that crashed."""
    running = await start_pool(FUNCTIONS)
    victim = running.submit("die", how="segfault")
    await running.lost(victim)
    stack = [line for _, line in running.heard.lines if "tasks.py" in line.text]
    assert stack
    assert stack[0].activation == victim


async def test_activations_that_the_dead_runner_had_not_started_run_elsewhere(start_pool: Any) -> None:
    """They are neither lost nor charged: the pool still has them."""
    running = await start_pool(FUNCTIONS)
    for _ in range(5):
        await running.call("nap", s=0.0)
    (before,) = await running.ready(1)
    victim = running.submit("nap", s=5)
    waiting = [running.submit("nap", s=0.0) for _ in range(5)]
    await running.running(victim)
    os.kill(before, signal.SIGKILL)
    assert before not in [await running.result(activation) for activation in waiting]
    assert set(running.heard.lost) == {victim}


async def test_a_resumed_activation_does_not_queue_behind_fresh_ones(start_pool: Any, tmp_path: Path) -> None:
    """Who has waited already, and may be waited for, goes first; among its like, the oldest."""
    running = await start_pool(FUNCTIONS)
    busy = running.submit("hold", path=str(tmp_path / "go"))
    await running.running(busy)
    fresh = [running.submit("nap", s=0.02) for _ in range(3)]
    resumed = [running.submit("nap", resumption=1, s=0.02) for _ in range(2)]
    (tmp_path / "go").touch()
    for activation in fresh:
        await running.result(activation)
    started = [frame.activation for frame in running.heard.frames if isinstance(frame, frames.Running)]
    assert started == [busy, *resumed, *fresh]


async def test_a_death_is_noticed_while_a_grandchild_holds_the_pipes(start_pool: Any, tmp_path: Path) -> None:
    """The end of a pipe would come only when the last process that holds it ends."""
    running = await start_pool(FUNCTIONS)
    lost = await running.lost(running.submit("fork_and_exit", path=str(tmp_path / "pid")))
    assert lost.message == "the runner exited with status 1"
    grandchild = int((tmp_path / "pid-written").read_text())
    assert process_start(grandchild) is not None, "it holds them still"
    os.kill(grandchild, signal.SIGKILL)


async def test_a_dead_runner_is_replaced_without_another_import(start_pool: Any, tmp_path: Path) -> None:
    """The replacement is a fork of a warm parent: that takes milliseconds."""
    running = await start_pool(f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\n" + FUNCTIONS)
    (pid,) = await running.ready(1)
    await running.call("nap", s=0.0)
    os.kill(pid, signal.SIGKILL)
    await running.heard.until(lambda: [r.pid for r in running.pool.runners()] != [pid])
    await running.ready(1)
    assert await running.call("nap", s=0.0) != pid
    assert (tmp_path / "imports").read_text() == "x"


async def test_a_runner_past_the_memory_limit_is_killed_alone(start_pool: Any) -> None:
    """The reason is OutOfMemory, and the message has the figures."""
    running = await start_pool(FUNCTIONS, sync_runners=2, memory_limit_bytes=150 << 20)
    hoarder = running.submit("hoard", mib=200)
    lost = await running.lost(hoarder)
    assert lost.was_active
    assert lost.reason is LostReason.OUT_OF_MEMORY
    assert lost.message.endswith("MiB of memory, the limit is 150 MiB")
    assert await running.call("nap", s=0.0) > 0
    assert set(running.heard.lost) == {hoarder}


async def test_runners_share_the_containers_memory(start_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limit the kernel would kill the whole container, not the one that is too large."""
    monkeypatch.setattr(limits, "container_memory_limit", lambda: (256 + 300) << 20)
    running = await start_pool(FUNCTIONS, sync_runners=2)
    lost = await running.lost(running.submit("hoard", mib=200))
    assert lost.message.endswith("MiB of memory, the limit is 150 MiB")


async def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_others(
    start_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts such kills; the reason is OutOfMemory, and charged like a crash."""
    kills = 3
    monkeypatch.setattr(limits, "oom_kills", lambda: kills)
    monkeypatch.setattr(limits, "container_memory_limit", lambda: 4 << 30)
    running = await start_pool(FUNCTIONS)
    first = await running.lost(running.submit("die", how="signal"))
    assert (first.reason, first.was_active) == (LostReason.RUNNER_CRASHED, True)
    victim = running.submit("nap", s=60)
    await running.running(victim)
    (pid,) = await running.ready(1)
    kills += 1
    os.kill(pid, signal.SIGKILL)
    second = await running.lost(victim)
    assert (second.reason, second.was_active, second.was_alone) == (LostReason.OUT_OF_MEMORY, True, True)
    assert second.message == "the kernel killed the runner: the container is out of memory, its limit is 4096 MiB"


async def test_after_the_death_of_the_zygote_everything_is_started_anew(start_pool: Any) -> None:
    """Runners die with their zygote; what was active is lost, and new work runs."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    before = await running.ready(2)
    victim = running.submit("nap", s=60)
    await running.running(victim)
    zygote = running.app.pid
    os.kill(zygote, signal.SIGKILL)
    lost = await running.lost(victim)
    assert (lost.was_active, lost.was_alone, lost.reason) == (True, True, "RunnerCrashed")
    assert "the zygote was killed by SIGKILL" in lost.message
    assert await running.call("nap", s=0.0) not in before


async def test_of_several_that_were_active_when_the_zygote_died_none_is_known_to_be_to_blame(start_pool: Any) -> None:
    """Each has to run alone first; what was parked had nothing to do with it."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    parked = running.submit("parked", path="/dev/null")
    await running.heard.until(lambda: any(isinstance(event, frames.Waiting) for event in running.heard.frames))
    victims = [running.submit("nap", s=60) for _ in range(2)]
    for victim in victims:
        await running.running(victim)
    os.kill(running.app.pid, signal.SIGKILL)
    for victim in victims:
        lost = await running.lost(victim)
        assert (lost.was_active, lost.was_alone) == (True, False)
    assert not (await running.lost(parked)).was_active


async def test_who_kills_the_zygote_again_and_again_is_found_and_others_are_not_charged(start_pool: Any) -> None:
    """Deaths that follow each other closely have one activation run at a time: sooner or later the guilty one."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    guilty, innocent = running.submit("kill_zygote"), running.submit("nap", s=60)
    for _ in range(6):
        lost = await running.lost(guilty)
        if lost.was_alone:
            break
        # As the supervisor does: both run again, alone on their runners.
        assert not (await running.lost(innocent)).was_alone
        guilty, innocent = running.submit("kill_zygote", alone=True), running.submit("nap", alone=True, s=60)
    assert lost.was_alone
    assert innocent not in running.heard.lost


async def test_a_zygote_that_dies_again_and_again_is_restarted_with_growing_delays(start_pool: Any) -> None:
    """That its runners become READY in between does not count as a success."""
    running = await start_pool(FUNCTIONS)
    deaths: list[float] = []
    for _ in range(4):
        await running.lost(running.submit("kill_zygote"))
        deaths.append(time.monotonic())
    assert deaths[-1] - deaths[0] > 0.1 + 0.2 + 0.4


async def test_runners_that_die_before_ready_are_restarted_with_growing_delays(start_pool: Any, tmp_path: Any) -> None:
    """A runner that cannot start does not keep a CPU busy with starting it."""
    source = f"""
os.register_at_fork(after_in_child=lambda: open({str(tmp_path)!r} + f"/{{time.time_ns()}}.try", "w").close())
os.register_at_fork(after_in_child=lambda: os.path.exists({str(tmp_path / "ok")!r}) or os._exit(9))
"""
    starting = asyncio.create_task(start_pool(source + FUNCTIONS))
    while len(list(tmp_path.glob("*.try"))) < 3:
        await asyncio.sleep(0.01)
    (tmp_path / "ok").touch()
    running = await starting
    times_ns = sorted(int(path.stem) for path in tmp_path.glob("*.try"))
    assert times_ns[1] - times_ns[0] > 0.09e9
    assert times_ns[2] - times_ns[1] > 0.19e9
    assert await running.call("nap", s=0.0) > 0


async def test_an_activation_can_be_killed_whatever_it_does(start_pool: Any) -> None:
    """Its runner is killed; nothing on it is charged with a crash."""
    running = await start_pool(FUNCTIONS)
    stuck = running.submit("nap", s=60)
    await running.running(stuck)
    running.pool.kill_activation(stuck)
    lost = await running.lost(stuck)
    assert (lost.was_active, lost.reason) == (False, "Evicted")
    assert await running.call("nap", s=0.0) > 0
