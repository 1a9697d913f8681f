"""Server and worker as processes of their own, logs that are followed, and code that changes under an Execution."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Kontinue = Any  # classes are in conftest, which importlib mode does not let us import
Dev = Any
WaitUntil = Callable[..., None]


@pytest.fixture
def start(kontinue: Kontinue) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a verb that runs until it is told to stop."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        started.append(kontinue.start(*arguments))
        return started[-1]

    yield run
    for process in reversed(started):
        process.kill()
        process.communicate()


def test_server_and_worker_run_without_dev(
    kontinue: Kontinue, start: Callable[..., "subprocess.Popen[str]"], wait_until: WaitUntil
) -> None:
    """As in a cluster: a worker beside a server, found by --kubeconfig, ended by SIGTERM."""
    start("apiserver", "--data-dir", "data", "--port", "0")
    kubeconfig = kontinue.folder / "data" / "kubeconfig"
    wait_until("the server", kubeconfig.exists)
    target = ("--kubeconfig", str(kubeconfig))
    worker = start("worker", "run", "app:app", "--sync-runners", "1", "-n", "default", *target)
    wait_until("the functions", lambda: "greet" in kontinue("functions", "-o", "name", *target).stdout)
    assert kontinue("execute", "-q", "greet", "-p", "name=x", *target).stdout == '"hello x"\n'
    worker.send_signal(signal.SIGTERM)
    out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert {"worker ready", "output", "worker stopped"} <= {json.loads(line)["event"] for line in out.splitlines()}


def test_logs_are_followed_to_the_end(kontinue: Kontinue, dev: Dev, wait_until: WaitUntil) -> None:
    """The lines of children are there, those of others are not, and it returns when the Execution has ended."""
    kontinue("execute", "-q", "greet", "-p", "name=stranger")
    name = kontinue("execute", "--detach", "rounds", "-p", 'names=["a", "b", "c"]').stdout.strip()
    done = kontinue("logs", "-f", name)
    assert done.returncode == 0
    for greeted in ("a", "b", "c"):
        assert done.stdout.count(f"| greeting {greeted}\n") == 1
    assert "stranger" not in done.stdout

    def texts() -> list[str]:
        as_json = [json.loads(line) for line in kontinue("logs", name, "-o", "json").stdout.splitlines()]
        return [line["text"] for line in as_json if line["event"] == "output"]

    wait_until("all lines", lambda: len(texts()) >= 3)
    assert texts() == [f"greeting {x}" for x in "abc"]


def test_changed_code_blocks_with_both_sides_and_exit_code_5(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil
) -> None:
    """wait, describe and cancel of an Execution that wakes to code that no longer matches what it recorded."""
    first = start_dev()
    first.ready()
    name = kontinue("execute", "--detach", "two_steps", "-p", "seconds=600").stdout.strip()
    wait_until("the first step", lambda: "Suspended" in kontinue("get", name).stdout)
    assert first.stop() == 0
    module = kontinue.folder / "app.py"
    module.write_text(module.read_text().replace("ctx.step(first_step)", "ctx.step(other_step)"))
    start_dev().ready()
    kontinue("resume", name)  # what sleeps is replayed when it wakes
    waited = kontinue("wait", name, "--timeout", "60s")
    assert (waited.returncode, waited.stdout) == (5, "Blocked\n")
    described = kontinue("describe", name).stdout
    assert "first_step" in described
    assert "other_step" in described
    assert f"kontinue cancel {name}" in described
    assert kontinue("cancel", name).returncode == 0
    assert kontinue("wait", name).returncode == 4
