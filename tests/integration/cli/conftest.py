"""A real ``kontinue dev`` on a small app, or a worker beside a real control plane, and the command line against it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from kontinue_engine.cli.dev.data_dir import DevState, read_state
from notices import without_notices
from process_state import is_running

APP = '''
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kontinue import App, ExecutionContext, NonRetryableError, SyncExecutionContext, step

app = App(group="cli-tests")


@app.function
def greet(name: str, times: int = 1) -> str:
    """Greet somebody."""
    print(f"greeting {name}")
    return " ".join([f"hello {name}"] * times)


@app.function
def approve(ctx: SyncExecutionContext) -> bool:
    return ctx.suspend(bool, display_name="Ship it?")


@app.function
def fail(message: str) -> None:
    raise NonRetryableError(message)


@step
def broken_step() -> None:
    raise ValueError("step broke")


@app.function
async def fail_in_step(ctx: ExecutionContext) -> None:
    await ctx.step(broken_step)


@app.function
async def fail_in_child(ctx: ExecutionContext) -> None:
    await ctx.execute(fail, "no luck")


@app.function
def busy(until: str) -> str:
    while not Path(until).exists():
        time.sleep(0.02)
    return "done"


@app.function
async def nap(ctx: ExecutionContext, seconds: float) -> str:
    await ctx.sleep(timedelta(seconds=seconds))
    return "rested"


@app.function
async def party(ctx: ExecutionContext, names: list[str]) -> list[str]:
    return await ctx.map(greet, names)


@app.function
async def rounds(ctx: ExecutionContext, names: list[str]) -> None:
    for name in names:
        await ctx.execute(greet, name)
        await ctx.sleep(timedelta(seconds=0.4))


@step
def first_step() -> int:
    return 1


@step
def other_step() -> int:
    return 2


@app.function
async def many_steps(ctx: ExecutionContext, count: int) -> int:
    return sum([await ctx.step(first_step) for _ in range(count)])


@app.function
async def two_steps(ctx: ExecutionContext, seconds: float) -> int:
    value = await ctx.step(first_step)
    await ctx.sleep(timedelta(seconds=seconds))
    return value
'''

DEADLINE_S = 90.0


def wait_for(what: str, check: Callable[[], object], *, deadline_s: float = DEADLINE_S) -> None:
    """Poll until ``check`` is true."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}"
        time.sleep(0.03)


class Kontinue:
    """Runs the command line in a folder, as a user does."""

    def __init__(self, folder: Path, kubeconfig: Path | None = None) -> None:
        self.folder = folder
        self.kubeconfig = kubeconfig or folder / ".kontinue" / "kubeconfig"
        self.env = {key: value for key, value in os.environ.items() if key not in {"KUBECONFIG", "NO_COLOR"}}
        if kubeconfig is not None:
            self.env["KUBECONFIG"] = str(kubeconfig)

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end; what stderr says of a server that is slow to answer is left out."""
        done = self.run(*arguments, stdin=stdin)
        done.stderr = without_notices(done.stderr)
        return done

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start, without waiting."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "kontinue_engine.cli", *arguments]


class Dev:
    """A running ``kontinue dev``."""

    def __init__(self, kontinue: Kontinue, *arguments: str) -> None:
        self.kontinue = kontinue
        self.data_dir = kontinue.folder / ".kontinue"
        self.output = kontinue.folder / "dev.log"
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(
                kontinue.command("dev", "app:app", "--port", "0", "--runners", "1", *arguments),
                cwd=kontinue.folder,
                env=kontinue.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def state(self) -> DevState | None:
        return read_state(self.data_dir)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        state = self.state()
        return state is not None and state.server_pid is not None and all(worker.runners for worker in state.workers)

    def ready(self) -> DevState:
        """Wait for the worker; return what runs."""
        wait_for("kontinue dev", self.is_ready)
        state = self.state()
        assert state is not None
        return state

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def kontinue(tmp_path: Path) -> Kontinue:
    """The command line in a folder that holds the app."""
    (tmp_path / "app.py").write_text(APP)
    return Kontinue(tmp_path)


@pytest.fixture
def dev(kontinue: Kontinue) -> Iterator[Dev]:
    """A ``kontinue dev`` of the test's own."""
    dev = Dev(kontinue)
    try:
        dev.ready()
        yield dev
    finally:
        dev.clean_up()


@pytest.fixture
def start_dev(kontinue: Kontinue) -> Iterator[Callable[..., Dev]]:
    """Start a ``kontinue dev``, any number of them."""
    started: list[Dev] = []

    def start(*arguments: str, of: Kontinue = kontinue) -> Dev:
        started.append(Dev(of, *arguments))
        return started[-1]

    yield start
    for dev in started:
        dev.clean_up()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Poll with a deadline."""
    return wait_for


@pytest.fixture
def process_runs() -> Callable[[int], bool]:
    """Whether a process runs."""
    return is_running


@pytest.fixture(scope="module")
def shared(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kontinue]:
    """The command line beside functions that run, for all tests of a module that disturb nothing.

    Locally they run in one ``kontinue dev``; with a real control plane, in a worker.
    """
    folder = tmp_path_factory.mktemp("shared")
    (folder / "app.py").write_text(APP)
    if server_kind == "kube":
        options = ("--sync-runners", "1")
        with Cluster(folder / "cluster", "app:app", app_dir=folder, server="kube", worker_options=options) as cluster:
            yield Kontinue(folder, cluster.kubeconfig)
        return
    kontinue = Kontinue(folder)
    dev = Dev(kontinue)
    try:
        dev.ready()
        yield kontinue
        dev.stop()
    finally:
        dev.clean_up()
