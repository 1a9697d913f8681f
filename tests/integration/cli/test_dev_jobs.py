"""``kontinue dev --jobs``: who ends Jobs and Pods where there is no Kubernetes. docs/jobs.md has the same commands."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from job_answers import listed
from kontinue.api import labels
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue_engine.cli.dev import job_runner
from kontinue_engine.cli.dev.processes import start_process
from scripted_transport import ScriptedTransport

pytestmark = pytest.mark.slow

Kontinue = Any  # classes are in conftest, which importlib mode does not let us import
Dev = Any
WaitUntil = Callable[..., None]
ProcessRuns = Callable[[int], bool]

DOCUMENT = Path(__file__).parents[3] / "docs" / "jobs.md"
APP = '''
from kontinue import App, ExecutionContext, JobTemplate

app = App(group="jobs-tests")


@app.function
async def job(ctx: ExecutionContext, script: str, retries: int = 0) -> list[str]:
    """Run a script as a Job."""
    template = JobTemplate(image="none", command=["sh", "-c", script], env={"NAME": "$(STAGE)x"}, retries=retries)
    done = await ctx.run_job(template, name="job")
    return [str(done.succeeded), str(done.exit_code), done.message]


@app.function
async def pod(ctx: ExecutionContext, command: list[str]) -> list[str]:
    """Run a command as a Pod."""
    done = await ctx.run_pod(JobTemplate(image="none", command=command), name="pod")
    return [str(done.succeeded), str(done.exit_code), done.message]
'''


@pytest.fixture
def app(kontinue: Kontinue) -> None:
    (kontinue.folder / "app.py").write_text(APP)


def spawn(kontinue: Kontinue, function: str, **arguments: Any) -> str:
    """Start a function and return the name of the Execution."""
    done = kontinue("execute", "--detach", function, "--args", json.dumps(arguments))
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


def run(kontinue: Kontinue, function: str, **arguments: Any) -> Any:
    """Run a function to its end and return its result."""
    done = kontinue("execute", function, "--args", json.dumps(arguments))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(kontinue: Kontinue, name: str) -> Any:
    """Wait for an Execution and return its result."""
    assert kontinue("wait", name, "--timeout", "50s").stdout == "Completed\n"
    return json.loads(kontinue("result", name).stdout)


def statuses(kontinue: Kontinue, resource: requests.Resource) -> list[Any]:
    """Return the statuses of all Pods, or all Jobs."""

    async def read() -> list[Any]:
        transport = KubeTransport(load_config(kubeconfig=kontinue.kubeconfig), user_agent="test")
        try:
            return [one["status"] for one in await listed(transport, "default", resource, "")]
        finally:
            await transport.close()

    return asyncio.run(read())


@pytest.mark.usefixtures("app")
def test_commands_run_as_local_processes(kontinue: Kontinue, start_dev: Callable[..., Dev]) -> None:
    """In the app's folder; what they print is kept, and told if they fail. A Job that may is tried again."""
    start_dev("--jobs", "process").ready()
    assert run(kontinue, "job", script="echo $NAME > greeting; pwd") == ["True", "0", ""]
    assert (kontinue.folder / "greeting").read_text() == "$(STAGE)x\n"
    (log,) = (kontinue.folder / ".kontinue" / "logs" / "jobs").glob("*.log")
    assert log.read_text().partition(" ")[2] == f"{kontinue.folder}\n"
    assert run(kontinue, "job", script="echo no database >&2; exit 3") == [
        "False",
        "3",
        "Job has reached the specified backoff limit; container main exited with 3 (Error, no database)",
    ]
    assert run(kontinue, "job", script="mkdir tried && exit 1; exit 0", retries=1)[0] == "True"
    succeeded, code, message = run(kontinue, "pod", command=["no-such-program"])
    assert (succeeded, code) == ("False", "127")
    assert "no-such-program cannot be started: No such file or directory" in message


@pytest.mark.usefixtures("app")
def test_a_pod_and_its_job_tell_since_when_they_run(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil
) -> None:
    """The Pod is Running while its process is, and the ends tell both times."""
    start_dev("--jobs", "process").ready()
    name = spawn(kontinue, "job", script="until test -e go; do sleep 0.05; done; echo gone")
    wait_until("the Pod", lambda: [pod.get("phase") for pod in statuses(kontinue, requests.PODS)] == ["Running"])
    (status,) = statuses(kontinue, requests.PODS)
    running = status["containerStatuses"][0]["state"]["running"]
    wait_until("another second", lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > running["startedAt"])
    (kontinue.folder / "go").touch()
    assert result(kontinue, name)[0] == "True"
    assert "| gone\n" in kontinue("logs", name).stdout
    (ended,) = statuses(kontinue, requests.PODS)
    assert ended["phase"] == "Succeeded"
    terminated = ended["containerStatuses"][0]["state"]["terminated"]
    assert running["startedAt"] == ended["startTime"] == terminated["startedAt"] < terminated["finishedAt"]
    (job,) = statuses(kontinue, requests.JOBS)
    assert job["startTime"] <= running["startedAt"] < job["completionTime"]


@pytest.mark.usefixtures("app")
def test_a_cancel_ends_the_whole_process_group(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil, process_runs: ProcessRuns
) -> None:
    """What the command has started, too, though it ignores to be asked; and the end of dev does the same."""
    dev = start_dev("--jobs", "process")
    dev.ready()
    script = "trap '' TERM; (trap '' TERM; sleep 600) & echo $$$$ $! > pids.tmp; mv pids.tmp pids; wait; sleep 600"
    pids = kontinue.folder / "pids"
    name = spawn(kontinue, "job", script=script)
    wait_until("the processes", pids.exists)
    first = [int(pid) for pid in pids.read_text().split()]
    assert all(process_runs(pid) for pid in first)
    assert kontinue("cancel", name).returncode == 0
    wait_until("the end of the processes", lambda: not any(process_runs(pid) for pid in first))
    pids.unlink()
    spawn(kontinue, "job", script=script)
    wait_until("the next processes", pids.exists)
    second = [int(pid) for pid in pids.read_text().split()]
    assert dev.stop(signal.SIGINT) == 0
    assert not any(process_runs(pid) for pid in second)


async def test_whoever_does_not_want_to_wait_for_the_grace_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_runs: ProcessRuns
) -> None:
    """The second Ctrl-C kills what ignores the first one, however long it may take."""
    monkeypatch.setattr(job_runner, "MAX_GRACE_S", 3600.0)
    command = ["sh", "-c", "trap '' TERM; echo $$$$ > pid.tmp; mv pid.tmp pid; sleep 3600 & wait; wait"]
    metadata = {"name": "p", "uid": "1", "resourceVersion": "1", "labels": {labels.PARENT_GROUP: "g"}}
    containers = [{"name": "main", "image": "none", "command": command}]
    pod = {"metadata": metadata, "spec": {"containers": containers}}

    def answer(request: requests.Request) -> bytes:
        if request.path.endswith("/p"):
            return json.dumps(pod).encode()
        items = [pod] if request.path.endswith("/pods") else []
        return json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()

    transport = ScriptedTransport()
    transport.answer = answer
    said: list[str] = []
    runner = job_runner.JobRunner(transport, namespace="ns", directory=tmp_path, logs=tmp_path, say=said.append)
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(60):
        while not said or not (tmp_path / "pid").exists():  # what is still being started has no grace
            await asyncio.sleep(0.02)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=0.2)
        assert not done
        runner.kill()
        await asyncio.wait([running])
    assert not process_runs(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path, wait_until: WaitUntil, turns: int) -> None:
    """Whatever is under way: neither the process nor what it has started goes on, and its pipes are closed."""
    command = ["sh", "-c", "sleep 3600 & sleep 3600"]
    starting = asyncio.create_task(
        start_process(command, directory=tmp_path, on_stdout=lambda line: None, on_stderr=lambda line: None)
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    wait_until("the end of what it started", lambda: not has_processes_in(tmp_path))
    gc.collect()  # a pipe that was left open would be told now


def has_processes_in(folder: Path) -> bool:
    return any(process.info["cwd"] == str(folder) for process in psutil.process_iter(["cwd"]))


@pytest.mark.usefixtures("app")
def test_the_sudden_death_of_dev_ends_the_whole_process_group(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil, process_runs: ProcessRuns
) -> None:
    """What the command has started does not go on beside what the next dev starts, though it ignores to be asked."""
    dev = start_dev("--jobs", "process")
    server_pid = dev.ready().server_pid
    pids = kontinue.folder / "pids"
    spawn(kontinue, "job", script="trap '' TERM HUP; sleep 600 & echo $$$$ $! > pids.tmp; mv pids.tmp pids; wait")
    wait_until("the processes", pids.exists)
    first = [int(pid) for pid in pids.read_text().split()]
    assert all(process_runs(pid) for pid in first)
    pids.unlink()
    dev.stop(signal.SIGKILL)
    wait_until("the end of the processes", lambda: not any(process_runs(pid) for pid in (*first, server_pid)))
    start_dev("--jobs", "process")
    wait_until("the next processes", pids.exists)


@pytest.mark.usefixtures("app")
def test_without_processes_kubectl_says_how_they_end(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil
) -> None:
    """By the commands that the document shows."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl")
    start_dev().ready()
    commands = re.findall(r"^(kubectl patch .*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(commands) == 3
    expected = (("job", "True"), ("job", "False"), ("pod", "True"))
    for command, (kind, succeeded) in zip(commands, expected, strict=True):
        arguments = {"command": ["true"]} if kind == "pod" else {"script": "true"}
        name = spawn(kontinue, kind, **arguments)

        def waited_for(name: str = name) -> str:
            found = json.loads(kontinue("get", name, "-o", "json").stdout)
            waiting = found.get("status", {}).get("waitingFor") or [{}]
            return str(waiting[0].get("name", ""))

        wait_until(f"the {kind}", waited_for)
        line = command.replace("NAME", waited_for())
        subprocess.run(
            [kubectl if word == "kubectl" else word for word in shlex.split(line)],
            env={**kontinue.env, "KUBECONFIG": str(kontinue.kubeconfig)},
            check=True,
            capture_output=True,
        )
        assert result(kontinue, name)[0] == succeeded
