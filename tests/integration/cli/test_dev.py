"""``kontinue dev``: starts, survives the death of its processes, stops in order, and refuses what cannot work."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontinue.kube.config import load_config

pytestmark = pytest.mark.slow

Kontinue = Any  # classes are in conftest, which importlib mode does not let us import
Dev = Any
WaitUntil = Callable[..., None]
ProcessRuns = Callable[[int], bool]


def test_it_says_what_runs_and_how_to_use_it(dev: Dev, wait_until: WaitUntil) -> None:
    """Address, kubeconfig, functions with signatures, pids, a command to try; no token."""
    state = dev.ready()
    wait_until("the last line of the greeting", lambda: "kontinue execute " in dev.output.read_text())
    text = dev.output.read_text()
    assert "server     http://127.0.0.1:" in text
    assert f"export KUBECONFIG={dev.data_dir}/kubeconfig" in text
    assert "greet(name: string, times: integer = 1) -> string" in text
    assert f"pid {state.workers[0].pid}" in text
    assert f"{state.workers[0].runners[0].pid} (sync)" in text
    assert "kontinue execute " in text
    token = load_config(kubeconfig=dev.data_dir / "kubeconfig").server.rpartition("/")[2]
    assert token not in text + (dev.data_dir / "dev.json").read_text()


def test_a_runner_that_replaces_another_one_is_named(dev: Dev, wait_until: WaitUntil) -> None:
    """By its pid, as the first ones: somebody may want to kill that one, too."""
    first = dev.ready().workers[0].runners[0].pid
    replaced = re.compile(r"runner ready .*runner=(\d+) colour=sync\n")
    assert replaced.search(dev.output.read_text()) is None
    os.kill(first, signal.SIGKILL)
    wait_until("its successor", lambda: replaced.search(dev.output.read_text()) is not None)
    (successor,) = map(int, replaced.findall(dev.output.read_text()))
    assert successor != first
    os.kill(successor, 0)


def test_ctrl_c_stops_everything_and_a_restart_continues(
    kontinue: Kontinue, start_dev: Callable[..., Dev], process_runs: ProcessRuns
) -> None:
    """Exit code 0, no process left; what was running ends after the next start."""
    first = start_dev()
    state = first.ready()
    name = kontinue("execute", "--detach", "nap", "-p", "seconds=1.5").stdout.strip()
    assert first.stop(signal.SIGINT) == 0
    pids = [state.server_pid, state.workers[0].pid, *(runner.pid for runner in state.workers[0].runners)]
    assert [pid for pid in pids if process_runs(pid)] == []
    assert not (kontinue.folder / ".kontinue" / "dev.json").exists()
    start_dev().ready()
    assert kontinue("wait", name, "--timeout", "60s").stdout == "Completed\n"
    assert kontinue("result", name).stdout == '"rested"\n'


def test_sigterm_stops_it_too(dev: Dev) -> None:
    """As a service manager sends it."""
    assert dev.stop(signal.SIGTERM) == 0


def test_wait_groups_are_looked_after(kontinue: Kontinue, dev: Dev, wait_until: WaitUntil) -> None:
    """Dev has a coordinator: what was done for its ttl goes, also once the API server has been killed."""

    def use_a_group() -> None:
        for words in (("create", "jobs", "--ttl", "1ms"), ("add", "jobs"), ("done", "jobs")):
            assert kontinue("waitgroup", *words).returncode == 0
        wait_until("its deletion", lambda: "jobs" not in kontinue("waitgroup", "list", "-o", "name").stdout)

    state = dev.ready()
    use_a_group()
    os.kill(state.server_pid, signal.SIGKILL)
    wait_until("a new server", lambda: dev.is_ready() and dev.state().server_pid != state.server_pid)
    use_a_group()


def test_dev_keeps_the_lease_of_its_coordinator(kontinue: Kontinue, dev: Dev, wait_until: WaitUntil) -> None:
    """So everybody sees whether one works: while dev runs, one does; the API server alone has none."""

    def operator() -> int:
        program = [sys.executable, "-c", "from kontinue_engine.cli import entry; raise SystemExit(entry.koncli())"]
        asked = [*program, "operator", "--kubeconfig", str(kontinue.kubeconfig)]
        return subprocess.run(asked, capture_output=True, check=False, timeout=120).returncode

    state = dev.ready()
    wait_until("its coordinator", lambda: operator() == 0)
    assert dev.stop() == 0
    port = state.url.rpartition(":")[2]
    server = kontinue.start("apiserver", "--data-dir", str(dev.data_dir), "--port", port)
    try:
        wait_until("the server alone", lambda: operator() == 2)
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_shards_says_who_runs_a_group_that_is_not_sharded(kontinue: Kontinue, dev: Dev) -> None:
    """One worker, by its host name."""
    dev.ready()
    done = kontinue("shards")
    assert done.stdout.startswith(f"Group cli-tests: not sharded, {socket.gethostname()} runs all of it, renewed ")


def test_a_killed_worker_is_replaced_and_its_work_resumes(
    kontinue: Kontinue, dev: Dev, wait_until: WaitUntil, process_runs: ProcessRuns
) -> None:
    """Also its runners die with it; the Execution that they held completes once."""
    state = dev.ready()
    end = kontinue.folder / "end"
    name = kontinue("execute", "--detach", "busy", "-p", f"until={end}").stdout.strip()
    wait_until("the start", lambda: "Executing" in kontinue("get", name).stdout)
    os.kill(state.workers[0].pid, signal.SIGKILL)
    wait_until("a new worker", lambda: dev.is_ready() and dev.state().workers[0].pid != state.workers[0].pid)
    end.touch()
    assert kontinue("wait", name, "--timeout", "60s").stdout == "Completed\n"
    assert not any(process_runs(runner.pid) for runner in state.workers[0].runners)
    assert "worker was killed by SIGKILL" in dev.output.read_text()


def test_a_killed_server_is_replaced_on_its_port(kontinue: Kontinue, dev: Dev, wait_until: WaitUntil) -> None:
    """The kubeconfig stays right and the data are there."""
    state = dev.ready()
    name = kontinue("execute", "--detach", "greet", "-p", "name=x").stdout.strip()
    assert kontinue("wait", name).stdout == "Completed\n"
    os.kill(state.server_pid, signal.SIGKILL)
    wait_until(
        "a new server", lambda: (now := dev.state()) is not None and now.server_pid not in {None, state.server_pid}
    )
    assert kontinue("result", name).stdout == '"hello x"\n'
    assert dev.state().url == state.url
    assert kontinue("execute", "-q", "greet", "-p", "name=y").stdout == '"hello y"\n'


def test_nothing_outlives_a_killed_dev(dev: Dev, wait_until: WaitUntil, process_runs: ProcessRuns) -> None:
    """The kernel ties server, worker and runners to it."""
    state = dev.ready()
    dev.process.kill()
    dev.process.wait()
    pids = [state.server_pid, state.workers[0].pid, *(runner.pid for runner in state.workers[0].runners)]
    wait_until("the end of all processes", lambda: not any(process_runs(pid) for pid in pids))


def test_a_second_one_on_the_data_dir_is_refused_by_pid(kontinue: Kontinue, dev: Dev) -> None:
    """The first goes on."""
    done = kontinue("dev", "app:app", "--port", "0")
    assert done.returncode == 1
    assert f"another kontinue dev (pid {dev.process.pid}) runs on {dev.data_dir}" in done.stderr
    assert "--data-dir" in done.stderr
    assert dev.is_ready()


def test_a_port_in_use_is_named(kontinue: Kontinue) -> None:
    """With the option that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = kontinue("dev", "app:app", "--port", str(port))
    assert done.returncode == 1
    assert f"error: port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert "--port N" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("broken:app", "ZeroDivisionError"),
        ("missing:app", "missing"),
        ("app:nothing", "nothing"),
    ],
)
def test_a_module_that_does_not_import_ends_the_first_start(kontinue: Kontinue, app: str, text: str) -> None:
    """Exit code 1, the traceback of the user's module, and what to do."""
    (kontinue.folder / "broken.py").write_text("value = 1 / 0\n")
    done = kontinue("dev", app, "--port", "0")
    assert done.returncode == 1
    assert text in done.stderr
    assert f"the worker could not start {app}" in done.stderr
    assert "run kontinue dev again" in done.stderr


def test_a_module_broken_later_is_tried_again_until_it_is_repaired(
    kontinue: Kontinue, dev: Dev, wait_until: WaitUntil
) -> None:
    """Dev says so and stays."""
    module: Path = kontinue.folder / "app.py"
    good = module.read_text()
    module.write_text("import nonsense_that_is_not_there\n")
    state = dev.ready()
    os.kill(state.workers[0].pid, signal.SIGKILL)
    wait_until("the refusal", lambda: "it did not become ready" in dev.output.read_text())
    module.write_text(good)
    wait_until("the repaired worker", dev.is_ready)
    assert kontinue("execute", "-q", "greet", "-p", "name=x").stdout == '"hello x"\n'


def test_edited_code_is_used_by_a_restarted_worker(kontinue: Kontinue, dev: Dev, wait_until: WaitUntil) -> None:
    """A mistake in it is told and waits for its correction; what is running resumes."""
    state = dev.ready()
    name = kontinue("execute", "--detach", "nap", "-p", "seconds=6").stdout.strip()
    module: Path = kontinue.folder / "app.py"
    good = module.read_text()
    module.write_text(good + "\nthis is no Python\n")
    wait_until("the mistake", lambda: "it did not become ready" in dev.output.read_text())
    assert "app.py changed: restarting the worker" in dev.output.read_text()
    module.write_text(good.replace("hello {name}", "good day {name}").replace("def approve(", "def agree("))
    wait_until("a new worker", lambda: dev.is_ready() and dev.state().workers[0].pid != state.workers[0].pid)
    assert kontinue("execute", "-q", "greet", "-p", "name=x").stdout == '"good day x"\n'
    assert kontinue("wait", name, "--timeout", "60s").stdout == "Completed\n"
    wait_until("the functions that there are now", lambda: "agree() -> boolean" in dev.output.read_text())


def test_an_edit_that_blocks_an_execution_shows_both_sides_and_how_to_start_over(
    kontinue: Kontinue, dev: Dev, wait_until: WaitUntil
) -> None:
    """The commands that it prints work, and so does undoing the edit."""
    names = [kontinue("execute", "--detach", "two_steps", "-p", "seconds=600").stdout.strip() for _ in range(2)]
    wait_until("the first step of both", lambda: kontinue("get").stdout.count("Suspended") == 2)
    module: Path = kontinue.folder / "app.py"
    good = module.read_text()
    module.write_text(good.replace("value = await ctx.step(first_step)", "value = await ctx.step(other_step)"))
    wait_until("the worker with the edit", lambda: dev.output.read_text().count("ready, pid") == 2)
    for name in names:
        kontinue("resume", name)  # what sleeps is replayed when it wakes
    wait_until("both sides", lambda: dev.output.read_text().count(" is Blocked: ") == 2)
    lines = dev.output.read_text().splitlines()
    (begin,) = [number for number, line in enumerate(lines) if f"{names[0]} is Blocked: " in line]
    recorded, requested, _, retry, cancel = lines[begin + 1 : begin + 6]
    assert recorded.startswith("  recorded:  step first_step")
    assert requested.startswith("  requested: step other_step")
    assert cancel.split() == ["kontinue", "cancel", names[0]]
    retried = retry.partition("#")[0].split()
    assert kontinue(*retried[1:]).returncode == 0
    wait_until("its new run", lambda: "Suspended" in kontinue("get", names[0]).stdout)
    module.write_text(good)
    wait_until("the end of the other one", lambda: "Completed" in kontinue("get", names[1]).stdout)


def test_another_namespace_is_created(start_dev: Callable[..., Dev], kontinue: Kontinue) -> None:
    """-n works at once."""
    start_dev("-n", "team-a").ready()
    done = kontinue("execute", "greet", "-p", "name=x", "-n", "team-a")
    assert done.stdout == '"hello x"\n'
    assert "team-a" in kontinue("get", "-A").stdout


def test_replicas_share_the_work_of_a_group(
    kontinue: Kontinue, start_dev: Callable[..., Dev], wait_until: WaitUntil, process_runs: ProcessRuns
) -> None:
    """Each has its shard and its log file; a killed one takes its shard back; Ctrl-C ends all of them in order."""
    dev = start_dev("--replicas", "2")
    state = dev.ready()
    assert [worker.name for worker in state.workers] == ["worker-0", "worker-1"]
    names = [kontinue("execute", "--detach", "greet", "-p", f"name=n{number}").stdout.strip() for number in range(4)]
    assert [kontinue("wait", name, "--timeout", "60s").stdout for name in names] == ["Completed\n"] * 4
    shards = [
        json.loads(kontinue("get", name, "-o", "json").stdout)["metadata"]["labels"]["kontinue.cloud/shard"]
        for name in names
    ]
    assert sorted(shards) == ["worker-0", "worker-0", "worker-1", "worker-1"]
    for name, shard in zip(names, shards, strict=True):
        log = dev.data_dir / "logs" / f"{shard}.jsonl"
        wait_until("its line", lambda name=name, log=log: name in log.read_text())
        wait_until("its output", lambda name=name: "greeting" in kontinue("logs", name).stdout)
    wait_until("a line", lambda: re.search(r"^worker-1 .*greeting", dev.output.read_text(), re.MULTILINE))

    killed = state.workers[1].pid
    os.kill(killed, signal.SIGKILL)
    wait_until("a new worker-1", lambda: dev.is_ready() and dev.state().workers[1].pid not in {None, killed})
    assert dev.state().workers[0] == state.workers[0]
    assert "worker-1 was killed by SIGKILL" in dev.output.read_text()
    nap = kontinue("execute", "--detach", "nap", "-p", "seconds=1").stdout.strip()
    assert kontinue("wait", nap, "--timeout", "60s").stdout == "Completed\n"

    last = dev.state()
    assert dev.stop(signal.SIGINT) == 0
    pids = [last.server_pid]
    for worker in last.workers:
        pids += [worker.pid, *(runner.pid for runner in worker.runners)]
    assert [pid for pid in pids if process_runs(pid)] == []


def test_a_module_that_does_not_import_ends_all_replicas(kontinue: Kontinue) -> None:
    """The same message as for one worker."""
    (kontinue.folder / "broken.py").write_text("value = 1 / 0\n")
    done = kontinue("dev", "broken:app", "--port", "0", "--replicas", "2")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "the worker could not start broken:app" in done.stderr
