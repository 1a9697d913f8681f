"""Every verb against an API server with a worker: data on stdout, progress on stderr, exit codes for scripts."""

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import
WaitUntil = Callable[..., None]


def execute_detached(kontinue: Kontinue, *arguments: str) -> str:
    done = kontinue("execute", "--detach", *arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


def test_execute_prints_the_result_alone_on_stdout(shared: Kontinue) -> None:
    """The target and each transition are on stderr."""
    done = shared("execute", "greet", "-p", "name=Ada", "-p", "times=2")
    assert (done.returncode, done.stdout) == (0, '"hello Ada hello Ada"\n')
    assert re.search("creating an Execution of greet in namespace default on https?://127.0.0.1:", done.stderr)
    assert "Completed greet-" in done.stderr


def test_quiet_leaves_stderr_empty(shared: Kontinue) -> None:
    """For scripts."""
    done = shared.run("execute", "-q", "greet", "--args", '{"name": "Ada"}')
    assert (done.stdout, done.stderr) == ('"hello Ada"\n', "")


def test_arguments_come_from_a_file_or_stdin_and_can_be_overridden(shared: Kontinue) -> None:
    """-p wins over --args."""
    (shared.folder / "args.json").write_text('{"name": "File", "times": 1}')
    assert shared("execute", "-q", "greet", "--args", "@args.json").stdout == '"hello File"\n'
    done = shared("execute", "-q", "greet", "--args", "-", "-p", "name=5", stdin='{"name": "x"}')
    assert done.stdout == '"hello 5"\n'


def test_a_failure_exits_with_3_and_shows_the_traceback(shared: Kontinue) -> None:
    """Reason, message, traceback, and where to see more."""
    done = shared("execute", "fail", "-p", "message=no luck")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no luck" in done.stderr
    assert "raise NonRetryableError(message)" in done.stderr
    assert "kontinue describe fail-" in done.stderr


def test_a_failed_step_and_a_failed_child_show_what_is_behind_them(shared: Kontinue) -> None:
    """The line that raised; the command that shows the child."""
    step_failed = shared("execute", "-q", "fail_in_step")
    assert step_failed.returncode == 3
    assert "Step broken_step (called at " in step_failed.stderr
    assert 'raise ValueError("step broke")' in step_failed.stderr
    name = step_failed.stderr.split()[1]
    assert 'raise ValueError("step broke")' in shared("describe", name).stdout
    child_failed = shared("execute", "-q", "fail_in_child")
    assert child_failed.returncode == 3
    assert re.search(r"Child (\S+) of function fail .* Look at it: kontinue describe \1\n", child_failed.stderr)


def test_an_unknown_function_is_answered_with_a_suggestion(shared: Kontinue) -> None:
    """One message, no traceback, nothing created."""
    done = shared("execute", "gret", "-p", "name=x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "greet" in done.stderr
    assert "Traceback" not in done.stderr


def test_arguments_that_do_not_fit_name_their_path(shared: Kontinue) -> None:
    """Before anything is created."""
    before = shared("get", "-o", "name").stdout
    done = shared("execute", "greet", "-p", "name=x", "-p", "times=many")
    assert done.returncode == 1
    assert "times" in done.stderr
    assert shared("get", "-o", "name").stdout == before


def test_get_lists_in_every_format(shared: Kontinue) -> None:
    """Table, wide, JSON, YAML, names; one object as itself, a missing one as an error."""
    name = execute_detached(shared, "greet", "-p", "name=x")
    assert shared("wait", name).stdout == "Completed\n"
    table = shared("get").stdout.split("\n")
    assert table[0].split() == ["NAME", "FUNCTION", "PHASE", "ATTEMPT", "AGE", "WAITING-FOR"]
    assert any(line.split()[:3] == [name, "greet", "Completed"] for line in table[1:] if line)
    assert "DURATION" in shared("get", "-o", "wide").stdout
    assert json.loads(shared("get", name, "-o", "json").stdout)["status"]["result"] == "hello x"
    assert yaml.safe_load(shared("get", "-o", "yaml").stdout)["kind"] == "List"
    assert f"executions.kontinue.cloud/{name}" in shared("get", "-o", "name").stdout
    assert name in shared("get", "--function", "greet", "--phase", "Completed", "-A").stdout
    assert "No Executions" in shared("get", "--phase", "Blocked").stderr
    assert shared("wait", f"executions.kontinue.cloud/{name}").stdout == "Completed\n"
    missing = shared("get", "nothing")
    assert missing.returncode == 1
    assert "Execution 'nothing' not found in namespace default" in missing.stderr


def test_a_tree_is_drawn_and_described(shared: Kontinue) -> None:
    """tree, describe and result of one run with children."""
    name = execute_detached(shared, "party", "-p", 'names=["a", "b"]')
    watched = shared("tree", "-w", name)
    assert watched.returncode == 0
    assert f"Completed {name} (party)" in watched.stdout
    tree = shared("tree", name).stdout
    assert tree.count("Completed") == 3
    assert json.loads(shared("result", name).stdout) == ["hello a", "hello b"]
    described = shared("describe", name).stdout
    assert "Steps (2 recorded)" in described


def test_a_long_history_is_described_whole(shared: Kontinue) -> None:
    """Though most of its steps stand in pages, not in the Execution."""
    name = execute_detached(shared, "many_steps", "-p", "count=100")
    assert shared("wait", name).returncode == 0
    described = shared("describe", "-o", "wide", name).stdout
    assert "Steps (100 recorded)" in described
    assert described.count("first_step") == 100


def test_a_tree_is_logged(shared: Kontinue, wait_until: WaitUntil) -> None:
    """What the children printed."""
    name = shared("execute", "--detach", "party", "-p", 'names=["a", "b"]').stdout.strip()
    assert shared("wait", name).stdout == "Completed\n"

    def lines() -> list[str]:
        return sorted(line.rpartition("| ")[2] for line in shared("logs", name).stdout.splitlines() if "|" in line)

    wait_until("both lines", lambda: len(lines()) >= 2)
    assert lines() == ["greeting a", "greeting b"]


def test_retry_runs_it_again(shared: Kontinue, wait_until: WaitUntil) -> None:
    """By name or by a selection; what has not ended badly is an error that says so."""
    shared("execute", "fail", "-p", "message=no", "--name", "tried", "--quiet")
    done = shared("retry", "tried", "--children", "all")
    assert (done.returncode, done.stdout) == (0, "executions.kontinue.cloud/tried retry requested\n")
    assert shared("wait", "tried").returncode == 3
    assert "Attempts (2)" in shared("describe", "tried").stdout
    wait_until("its Event", lambda: "RetryRequested" in shared("describe", "tried").stdout)
    assert "attempt 1" in shared("tree", "tried").stdout
    refused = shared("retry", "-l", "kontinue.cloud/function=fail")
    assert (refused.returncode, "confirm with -y" in refused.stderr) == (1, True)
    shared("execute", "greet", "-p", "name=Ada", "--name", "fine", "--quiet")
    fine = shared("retry", "fine")
    assert (fine.returncode, "it is Completed, not Failed or Canceled" in fine.stderr) == (1, True)


def test_cancel_ends_it_and_the_exit_code_says_so(shared: Kontinue) -> None:
    """Exit code 4 for whoever waits; a second cancel is an error that names the phase."""
    name = execute_detached(shared, "nap", "-p", "seconds=600")
    done = shared("cancel", name, "-m", "not needed")
    assert (done.returncode, done.stdout) == (0, f"executions.kontinue.cloud/{name} canceled\n")
    assert re.search("canceling 1 Execution in namespace default on https?://127.0.0.1:", done.stderr)
    waited = shared("wait", name)
    assert (waited.returncode, waited.stdout) == (4, "Canceled\n")
    again = shared("cancel", name)
    assert again.returncode == 1
    assert "Canceled" in again.stderr


def test_skip_ends_it_with_a_result(shared: Kontinue) -> None:
    """Exit code 0 for whoever waits, and the result; one that the function does not return is refused."""
    name = execute_detached(shared, "nap", "-p", "seconds=600")
    wrong = shared("skip", name, "--result", "[1]")
    assert (wrong.returncode, "result for nap" in wrong.stderr) == (1, True)
    done = shared("skip", name, "--result", '"by hand"', "-m", "not needed")
    assert (done.returncode, done.stdout) == (0, f"executions.kontinue.cloud/{name} skipped\n")
    waited = shared("wait", name)
    assert (waited.returncode, waited.stdout) == (0, "Skipped\n")
    assert json.loads(shared("result", name).stdout) == "by hand"
    text = shared("describe", name).stdout
    assert "Skipped (SkippedByClient)" in text
    assert "not needed" in text
    assert shared("skip", name).returncode == 1


def test_several_are_waited_for_together(shared: Kontinue) -> None:
    """A line for each, in the order given; the exit code is that of the first that did not complete."""
    one, failed, sleeper = (
        execute_detached(shared, "greet", "-p", "name=x"),
        execute_detached(shared, "fail", "-p", "message=no luck"),
        execute_detached(shared, "nap", "-p", "seconds=600"),
    )
    done = shared("wait", one, failed, one)
    assert (done.returncode, done.stdout) == (3, f"{one} Completed\n{failed} Failed\n{one} Completed\n")
    done = shared("wait", one, sleeper, "--timeout", "10s")  # long enough to hear of the one
    assert (done.returncode, done.stdout) == (124, f"{one} Completed\n")
    assert f"timeout: {sleeper} has not ended within 10s" in done.stderr
    done = shared("wait", one, sleeper, one, "--timeout", "0")
    assert (done.returncode, done.stdout) == (124, f"{one} Completed\n")
    assert f"timeout: {sleeper} has not ended and goes on" in done.stderr
    shared("cancel", sleeper)


def test_a_timeout_lets_it_go_on(shared: Kontinue) -> None:
    """Exit code 124, and how to watch."""
    done = shared("execute", "nap", "-p", "seconds=600", "--timeout", "300ms", "--name", "sleeper")
    assert done.returncode == 124
    assert "kontinue tree -w sleeper" in done.stderr
    assert shared("get", "sleeper", "-o", "json").returncode == 0
    shared("cancel", "sleeper")


def test_ctrl_c_detaches(shared: Kontinue) -> None:
    """Exit code 130; it goes on, and the way to watch or stop it is told."""
    process = shared.start("execute", "nap", "-p", "seconds=600", "--name", "detached")
    assert any("detached (nap)" in line for line in process.stderr), "it was never followed"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Detached: detached goes on" in err
    assert "kontinue cancel detached" in err
    assert json.loads(shared("get", "detached", "-o", "json").stdout)["status"]["phase"] != "Canceled"
    shared("cancel", "detached")


def test_functions_show_their_signatures(shared: Kontinue) -> None:
    """Wide shows how to call them."""
    assert "Greet somebody." in shared("functions").stdout
    assert "greet(name: string, times: integer = 1) -> string" in shared("functions", "-o", "wide").stdout


def test_bench_reports_figures(shared: Kontinue) -> None:
    """Throughput, percentiles and the writes that the server counted: two for a trivial Execution."""
    done = shared("bench", "greet", "-p", "name=x", "--count", "20", "-c", "4", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["executions"] == 20
    assert report["phases"] == {"Completed": 20}
    assert 0 < report["latencyP50Ms"] <= report["latencyP99Ms"]
    assert report["writesPerExecution"] >= 2


def test_a_refused_connection_is_one_message(shared: Kontinue) -> None:
    """A server that is gone is named, with the way to start one."""
    text = shared.kubeconfig.read_text()
    port = re.search(r"server: \S+?:(\d+)", text)[1]
    (shared.folder / "gone").write_text(text.replace(f":{port}", ":1"))
    done = shared.run("get", "--kubeconfig", "gone")
    assert done.returncode == 1
    notice, error = done.stderr.split("\n", 1)
    assert re.fullmatch(r"no answer from https?://127\.0\.0\.1:1 yet, still trying", notice)
    assert error.startswith("error: ")
    assert "kontinue dev" in done.stderr
    assert "Traceback" not in done.stderr
