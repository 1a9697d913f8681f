"""Show that nothing is lost: index Python's standard library twice, once undisturbed and once under SIGKILL.

``make demo`` runs this. It starts a ``kontinue dev`` of its own in ``.demo``, runs ``examples/stdlib_index``, kills a
runner and then the worker while the second run is under way, compares the counts of both runs, and says where the
report is. Exit status 0 says that it all held.

With ``--kubeconfig FILE`` it runs against that cluster, where our CRDs must be installed, instead of ``kontinue dev``:
it then starts the worker itself, and again when it has died, as Kubernetes would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"
sys.path.insert(0, str(EXAMPLES))

import msgspec  # noqa: E402
from stdlib_index.app import Index, index  # noqa: E402
from stdlib_index.report import Mark  # noqa: E402

from kontinue.client.client import Client  # noqa: E402
from kontinue.client.handle import ExecutionHandle  # noqa: E402
from kontinue.client.options import ClientOptions  # noqa: E402
from kontinue.replay.records import EMPTY_MEMO, decode_memo  # noqa: E402

HOME = REPOSITORY / ".demo"
STATE = HOME / "state"
CALM, DISTURBED = HOME / "undisturbed", HOME / "disturbed"
LOG = STATE / "logs" / "worker.jsonl"
START_S, RUN_S, RESUME_S, SETTLE_S = 60.0, 180.0, 60.0, 0.5
LONG_ENOUGH_S = 6.0
KILL_RUNNER_AT, KILL_WORKER_AT = 0.2, 0.5
"""Shares of the children that have ended when something is killed."""


class DemoError(Exception):
    """The demo did not show what it promises."""


@dataclass(frozen=True)
class Kill:
    """What was killed, how many Executions were lost with it, and when the first and last of them ran again."""

    what: str
    executions: int
    first: str
    last: str


@contextlib.contextmanager
def demo_folder() -> Iterator[None]:
    """Clear the folder where one demo keeps everything; a second one at the same time is refused."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo runs in {shown(HOME)}") from None
        for folder in (STATE, CALM, DISTURBED):
            shutil.rmtree(folder, ignore_errors=True)
        LOG.parent.mkdir(parents=True)
        yield


class Dev:
    """A ``kontinue dev`` of the demo's own; its messages go to ``dev.log``."""

    name = "kontinue dev"
    kubeconfig = STATE / "kubeconfig"

    def __init__(self) -> None:
        command = [sys.executable, "-m", "kontinue_engine.cli", "dev", "stdlib_index.app:app"]
        command += ["--app-dir", str(EXAMPLES), "--data-dir", str(STATE), "--port", "0"]
        self._log = (HOME / "dev.log").open("wb")
        # A session of its own: Ctrl-C reaches the demo alone, which then stops dev in order.
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)

    def state(self) -> dict[str, Any]:
        """Return what dev says about its processes; empty before it says anything."""
        try:
            state: dict[str, Any] = json.loads((STATE / "dev.json").read_bytes())
        except FileNotFoundError:
            return {}
        worker = state["workers"][0]
        return {**state, "worker_pid": worker["pid"], "runners": worker["runners"]}

    async def ready(self) -> dict[str, Any]:
        """Wait until the worker is ready."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if (state := self.state()).get("runners"):
                return state
            await asyncio.sleep(0.05)
        raise DemoError(f"kontinue dev did not get ready:\n{(HOME / 'dev.log').read_text()}")

    async def stop(self) -> None:
        """Stop everything."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Worker:
    """A worker beside somebody else's API server; started again when it has died."""

    name = "a worker"

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._keeper = asyncio.create_task(self._keep_running(), name="keep the worker running")

    def state(self) -> dict[str, Any]:
        """Return what the last worker that got ready said of itself."""
        ready = [line for line in log_lines(0.0) if line["event"] == "worker ready"] if LOG.exists() else []
        return {"worker_pid": ready[-1]["pid"], "runners": ready[-1]["runners"]} if ready else {}

    async def ready(self) -> dict[str, Any]:
        """Wait until the worker is ready."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not self._keeper.done():
            if state := self.state():
                return state
            await asyncio.sleep(0.05)
        raise DemoError(f"the worker did not get ready:\n{LOG.read_text()}")

    async def stop(self) -> None:
        """Stop it; what it holds is given back."""
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    async def _keep_running(self) -> None:
        command = ["-m", "kontinue_engine.worker", "stdlib_index.app:app", "--app-dir", str(EXAMPLES)]
        while True:
            with LOG.open("ab") as log:
                # A session of its own, as in Dev.
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, *command, "--kubeconfig", str(self.kubeconfig)),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            try:
                if await process.wait() != -signal.SIGKILL:
                    return  # it says why in its log
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
                raise


async def main() -> None:
    """Run the demo."""
    # Like Ctrl-C: nothing may outlive the demo, whoever ends it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    parser = argparse.ArgumentParser(description="Run the demo.")
    parser.add_argument(
        "--kubeconfig",
        type=lambda text: Path(text).absolute(),
        help="run against this cluster (default: a kontinue dev of its own)",
    )
    kubeconfig = parser.parse_args().kubeconfig
    if kubeconfig is not None and not kubeconfig.is_file():
        parser.error(f"there is no kubeconfig {kubeconfig}")
    with demo_folder():
        await run_demo(kubeconfig)


async def run_demo(kubeconfig: Path | None) -> None:
    """Start a worker (and, without a kubeconfig, a server), run both runs, compare, and stop everything."""
    say(f"starting {Worker.name if kubeconfig else Dev.name} in {shown(HOME)}")
    dev = Worker(kubeconfig) if kubeconfig else Dev()
    try:
        state = await dev.ready()
        runners = ", ".join(f"{runner['pid']} ({runner['colour']})" for runner in state["runners"])
        server = f"API server of {shown(kubeconfig)}" if kubeconfig else f"API server pid {state['server_pid']}"
        say(f"{server}, worker pid {state['worker_pid']}, runners {runners}")
        say("while it runs, look at it from a second shell:")
        kubectl = shown(Path(sys.executable).parent / "kubectl")
        kubectl = kubectl if Path(sys.executable).with_name("kubectl").exists() else "kubectl"
        for command in (
            "get executions",
            "get executions -w",
            "describe execution NAME",
            "get functions.kontinue.cloud",
        ):
            print(f"             {kubectl} --kubeconfig {shown(dev.kubeconfig)} {command}")
        async with Client(ClientOptions(kubeconfig=str(dev.kubeconfig), qps=None)) as client:
            calm, took_s = await run_calm(client)
            disturbed, kills = await run_disturbed(client, dev, passes=choose_passes(took_s))
            compare(calm, disturbed, kills)
    finally:
        say(f"stopping {dev.name}")
        await dev.stop()


async def run_calm(client: Client) -> tuple[Index, float]:
    """Index the library and disturb nothing; return also how long it took."""
    say("first run, undisturbed")
    started_s = time.monotonic()
    handle = await client.spawn(index, str(CALM))
    result = await handle.result(timeout=timedelta(seconds=RUN_S))
    totals = result.totals
    say(f"  {totals.files:,} files, {totals.lines:,} lines, {totals.functions:,} functions in {since(started_s)}")
    return result, time.monotonic() - started_s


def choose_passes(calm_s: float) -> int:
    """Return how often to read everything, so that the second run is long enough to be killed in on any machine."""
    return max(1, math.ceil(LONG_ENOUGH_S / max(calm_s, 0.1)))


async def run_disturbed(client: Client, dev: Dev | Worker, *, passes: int) -> tuple[Index, list[Kill]]:
    """Index the library while a runner and then the worker are killed."""
    say("second run, disturbed" + (f" (each file read {passes} times: this machine is fast)" if passes > 1 else ""))
    started_s = time.monotonic()
    handle = await client.spawn(index, str(DISTURBED), passes=passes)
    await progress(client, handle, KILL_RUNNER_AT)
    first = await kill_busy_runner()
    await progress(client, handle, KILL_WORKER_AT)
    worker = dev.state()["worker_pid"]
    async with asyncio.TaskGroup() as watchers:
        second = watchers.create_task(kill(worker, f"worker {worker} with its runners", lost_with_worker))
        result = await handle.result(timeout=timedelta(seconds=RUN_S))
        say(f"  done in {since(started_s)}")
    await check_once(client, handle)
    return result, [first, second.result()]


async def progress(client: Client, handle: ExecutionHandle[Index], share: float) -> None:
    """Wait until this share of the children has ended."""
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        children = await client.get_child_executions(handle.name)
        ended = sum(child.phase.is_terminal for child in children)
        if children and ended >= share * len(children):
            say(f"  {ended} of {len(children)} children have ended")
            return
        await asyncio.sleep(0.1)
    raise DemoError(f"the run did not get to {share:.0%} within {RUN_S:g} s")


async def kill_busy_runner() -> Kill:
    """SIGKILL runners until one had work: for a moment between two parts it has none."""
    deadline, tried = time.monotonic() + RUN_S, set[int]()
    while time.monotonic() < deadline:
        if (runner := busy_runner()) in tried:
            await asyncio.sleep(0.05)
            continue
        tried.add(runner)
        killed = await kill(runner, f"runner {runner}", partial(lost_with_runner, runner))
        if killed.executions:
            return killed
        say(f"  runner {runner} had nothing to do in that moment: another one")
    raise DemoError(f"no runner had anything to do within {RUN_S:g} s")


async def kill(pid: int, what: str, lost: Callable[[list[dict[str, Any]]], set[str] | None]) -> Kill:
    """SIGKILL a process and wait until the work that it held, if any, runs again."""
    at_s = time.time()
    os.kill(pid, signal.SIGKILL)
    say(f"  SIGKILL to {what}")
    mark(Mark(round(at_s * 1000), "kill", f"{what} killed"))
    deadline = time.monotonic() + RESUME_S
    while time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        lines = log_lines(at_s)
        names = lost(lines)
        if names is None:
            continue
        if not names:
            return Kill(what, 0, "", "")
        resumed = [line for line in lines if line["event"] == "resumed running" and line["execution"] in names]
        if names == {line["execution"] for line in resumed}:
            took = [f"{(time_of(line) - at_s) * 1000:.0f} ms" for line in resumed]
            say(f"  resumed after {took[0]}: {', '.join(line['execution'] for line in resumed)}")
            mark(Mark(round(time_of(resumed[0]) * 1000), "resume", f"work of {what} runs again after {took[0]}"))
            return Kill(what, len(names), took[0], took[-1])
    raise DemoError(f"not everything was resumed within {RESUME_S:g} s after {what} was killed; see {shown(LOG)}")


def lost_with_runner(pid: int, lines: list[dict[str, Any]]) -> set[str] | None:
    """Return the Executions that the worker says it lost with a runner; None until it has surely said so."""
    ended = next((line for line in lines if line["event"] == "runner ended" and line["runner"] == pid), None)
    names = {line["execution"] for line in lines if line.get("reason") == "RunnerCrashed" and "execution" in line}
    return names if names or (ended is not None and time.time() - time_of(ended) > SETTLE_S) else None


def lost_with_worker(lines: list[dict[str, Any]]) -> set[str] | None:
    """Return the Executions that the next worker says it found running, as the root was; None until it has said so."""
    ready = next((number for number, line in enumerate(lines) if line["event"] == "worker ready"), None)
    if ready is None or time.time() - time_of(lines[ready]) < SETTLE_S:
        return None
    names = {line["execution"] for line in lines[ready:] if line.get("reason") == "Resumed" and "execution" in line}
    return names or None


def busy_runner() -> int:
    """Return the pid of the runner that printed last: the next part keeps it busy already."""
    printed = [line["runner"] for line in log_lines(0.0) if line["event"] == "output" and "runner" in line]
    return int(printed[-1])


def log_lines(since_s: float) -> list[dict[str, Any]]:
    """Return the worker's log lines from then on."""

    def parsed() -> Iterator[dict[str, Any]]:
        for line in LOG.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                yield json.loads(line)

    return [line for line in parsed() if time_of(line) >= since_s]


def time_of(line: dict[str, Any]) -> float:
    """Return when a log line was written, seconds since the epoch."""
    return datetime.fromisoformat(line["time"]).timestamp()


def mark(new: Mark) -> None:
    """Leave a mark for the report's timeline."""
    path = DISTURBED / "marks.json"
    DISTURBED.mkdir(exist_ok=True)
    marks = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*marks, asdict(new)]))


async def check_once(client: Client, handle: ExecutionHandle[Index]) -> None:
    """Raise unless every step of the root is recorded exactly once."""
    execution = await client.get_execution(handle.name)
    state = execution.status.state
    memo = decode_memo(state) if isinstance(state, msgspec.Raw) else EMPTY_MEMO
    twice = [step for step, count in Counter(record.id for record in memo.records).items() if count > 1]
    if twice:
        raise DemoError(f"recorded more than once: {', '.join(twice)}")
    say(
        f"  {counted(len(memo.records), 'step')}, each recorded once; "
        f"the root resumed {counted(execution.status.resumptions, 'time')}"
    )


def compare(calm: Index, disturbed: Index, kills: list[Kill]) -> None:
    """Raise unless both runs counted the same."""
    print()
    for one in kills:
        when = one.first if one.executions == 1 else f"{one.first} to {one.last}"
        print(f"  killed {one.what}: {counted(one.executions, 'Execution')} lost it and ran again after {when}")
    print(f"  undisturbed {calm.digest}  {calm.totals.files:,} files, {calm.totals.functions:,} functions")
    print(
        f"  disturbed   {disturbed.digest}  {disturbed.totals.files:,} files, {disturbed.totals.functions:,} functions"
    )
    print(f"  report      {shown(Path(disturbed.report))} and {shown(Path(disturbed.chart))}")
    print()
    if (calm.digest, calm.totals) != (disturbed.digest, disturbed.totals):
        raise DemoError("the counts of the two runs differ")
    print("  The counts are equal: nothing was lost, nothing was counted twice.\n")


def say(text: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - STARTED_S:7.1f} s  {text}", flush=True)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def since(started_s: float) -> str:
    """Return the time since then."""
    return f"{time.monotonic() - started_s:.1f} s"


def shown(path: Path) -> str:
    """Return a path as short as it can be pasted."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


STARTED_S = time.monotonic()

if __name__ == "__main__":
    try:
        asyncio.run(main())
    except DemoError as error:
        sys.exit(f"demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except asyncio.CancelledError:
        sys.exit(143)
