"""Every format of what is printed, and every kind of stream that it is printed to."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from notices import without_notices

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import

LISTS = ["get", "functions", "suspensions", "schedules"]


@pytest.fixture(scope="module")
def done(shared: Kontinue) -> str:
    """The name of an Execution that has completed, and of which there is one of a kind."""
    assert shared("execute", "-q", "greet", "-p", "name=Ada", "--name", "format-done").returncode == 0
    return "format-done"


def at_terminal(kontinue: Kontinue, *arguments: str, stdin: str = "", columns: int = 80, **env: str) -> tuple[int, str]:
    """What somebody at a terminal sees, and the exit code."""
    process, leader = open_terminal(kontinue, *arguments, columns=columns, **env)
    os.write(leader, stdin.encode())
    seen = b"".join(read_all(leader))
    os.close(leader)
    return process.wait(60), seen.decode().replace("\r\n", "\n")


def open_terminal(kontinue: Kontinue, *arguments: str, columns: int = 80, **env: str) -> tuple[subprocess.Popen, int]:
    """Start it at a terminal of its own; return the process, and where to type and to read."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        kontinue.command(*arguments),
        cwd=kontinue.folder,
        env={**kontinue.env, "COLUMNS": str(columns), "TERM": "xterm", **env},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    return process, leader


def read_all(descriptor: int) -> Iterator[bytes]:
    """Until nobody has the other side open."""
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # how Linux tells it
            return
        if not data:
            return
        yield data


@pytest.mark.parametrize("verb", LISTS)
def test_lists_have_every_format_in_one_namespace_and_in_all(shared: Kontinue, done: str, verb: str) -> None:
    """Documents parse whether there is something or not, and names of nothing are no line."""
    assert json.loads(shared(verb, "-A", "-o", "json").stdout)["kind"] == "List"
    assert all(".kontinue.cloud/" in line for line in shared(verb, "-oname").stdout.splitlines())
    nothing = shared(verb, "-l", "no=such", "-o", "name")
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_what_is_about_one_execution_has_every_format(shared: Kontinue, done: str) -> None:
    """get, describe, wait, result: the object, or its result, or its name."""
    reference = f"executions.kontinue.cloud/{done}"
    for verb in ("get", "describe", "wait"):
        assert yaml.safe_load(shared(verb, done, "-o", "yaml").stdout)["status"]["phase"] == "Completed"
        assert shared(verb, done, "-o", "name").stdout == f"{reference}\n"
        assert json.loads(shared(verb, done, done, "-o", "json").stdout)["kind"] == "List"
    assert "Name:       format-done\n" in shared("describe", "-l", "kontinue.cloud/function=greet").stdout
    assert shared("result", done).stdout == '"hello Ada"\n'
    assert shared("result", done, "-o", "yaml").stdout == "hello Ada\n"
    assert shared("result", done, "-o", "name").stdout == f"{reference}\n"


def test_what_changes_something_tells_it_in_every_format(shared: Kontinue) -> None:
    """By name, and of a selection that was confirmed; one that fails does not keep the others from it."""
    started = [
        shared("execute", "-q", "nap", "-p", "seconds=600", "--detach", "-o", "name").stdout.strip() for _ in range(4)
    ]
    assert shared("cancel", "-q", started[0], "-o", "name").stdout == f"{started[0]}\n"
    skipped = shared("skip", started[1], "--result", '"x"', "-o", "json")
    assert json.loads(skipped.stdout)["status"]["phase"] == "Skipped"
    partly = shared("cancel", started[2], "no-such-name", started[3])
    assert partly.returncode == 1
    assert partly.stdout.splitlines() == [f"{started[2]} canceled", f"{started[3]} canceled"]
    assert "Execution 'no-such-name' not found" in partly.stderr
    assert "1 of 3 Executions left as they were" in partly.stderr
    assert "No running Executions match." in shared("cancel", "-y", "-l", "kontinue.cloud/function=nap").stderr


def test_executions_are_waited_for_until_they_are_as_somebody_wants(shared: Kontinue, done: str) -> None:
    """What has ended otherwise comes no nearer to it, and the exit code says so."""
    name = shared("execute", "-q", "nap", "-p", "seconds=600", "--detach", "--mutex", "bed").stdout.strip()
    assert shared("wait", name, "--for=Suspended", "--timeout", "60s").stdout == "Suspended\n"
    assert json.loads(shared("get", name, "-o", "json").stdout)["spec"]["mutex"] == {"name": "bed"}
    shared("cancel", name)
    assert [shared("wait", name, f"--for={goal}").returncode for goal in ("completed", "canceled", "failed")] == [
        4,
        0,
        4,
    ]
    assert shared("wait", done, "--for=failed").returncode == 1
    assert shared("wait", done, "--for=dreaming").returncode == 2
    chosen = shared("wait", "-l", "kontinue.cloud/function=greet")
    assert (chosen.returncode, f"{done} Completed" in chosen.stdout) == (0, True)
    assert "no Executions in namespace default match" in shared("wait", "-l", "no=such").stderr


def test_changes_are_followed_row_by_row(shared: Kontinue) -> None:
    """One header, then what there is, then each change; Ctrl-C ends it with 130."""
    shared("execute", "-q", "nap", "-p", "seconds=600", "--detach", "--name", "followed")
    following = shared.start("get", "-w", "followed")
    lines = iter(following.stdout)
    assert next(lines).split()[:3] == ["NAME", "FUNCTION", "PHASE"]
    assert next(lines).split()[:2] == ["followed", "nap"]
    shared("cancel", "followed")
    assert any(line.split()[2] == "Canceled" for line in lines)
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=60)
    assert following.returncode == 130
    names = shared.start("get", "-w", "followed", "-o", "name")
    assert next(iter(names.stdout)) == "executions.kontinue.cloud/followed\n"
    names.send_signal(signal.SIGINT)
    names.communicate(timeout=60)


def test_a_name_that_is_wrong_is_answered_with_one_that_may_be_meant(shared: Kontinue, done: str) -> None:
    """By whatever takes names, whether it reads or changes."""
    for verb in ("get", "wait", "cancel", "retry", "resume"):
        answer = shared(verb, "format-dome")
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "Execution 'format-dome' not found in namespace default. Did you mean format-done?" in answer.stderr


def test_a_terminal_gets_lines_that_fit_and_may_refuse_colours(shared: Kontinue, done: str) -> None:
    """Seventy columns; --no-color and NO_COLOR are obeyed, and a pipe has no colours anyway."""
    shared("execute", "-q", "nap", "-p", "seconds=600", "--detach", "--name", "sleeper")
    assert shared("wait", "sleeper", "--for=suspended").returncode == 0
    code, seen = at_terminal(shared, "get", "sleeper", columns=70)
    assert (code, [len(line) <= 70 for line in seen.splitlines()]) == (0, [True, True])
    assert seen.splitlines()[1].endswith("…")
    code, seen = at_terminal(shared, "execute", "greet", "-p", "name=Ada")
    assert (code, "\x1b[32m" in seen) == (0, True)
    for arguments, env in ((["--no-color"], {}), ([], {"NO_COLOR": "1"})):
        code, seen = at_terminal(shared, "execute", "greet", "-p", "name=Ada", *arguments, **env)
        assert (code, "\x1b[32m" in seen) == (0, False)
    assert "\x1b" not in shared("execute", "greet", "-p", "name=Ada").stderr
    shared("cancel", "sleeper")


def test_a_form_asks_for_arguments_and_payloads(shared: Kontinue) -> None:
    """What does not fit is asked for again, an empty answer is the default; a script is told which option to use."""
    code, seen = at_terminal(shared, "execute", "-q", "greet", "--interactive", stdin="Ada\nmany\n2\n")
    assert (code, '"hello Ada hello Ada"' in seen) == (0, True)
    assert "expected integer" in seen
    code, seen = at_terminal(shared, "execute", "-q", "greet", "--interactive", "-p", "name=Bob", stdin="\n")
    assert (code, '"hello Bob"' in seen) == (0, True)
    script = shared("execute", "greet", "--interactive")
    assert (script.returncode, "no terminal" in script.stderr) == (2, True)
    missing = shared("execute", "greet")
    assert (missing.returncode, "kontinue execute greet -p name=TEXT" in missing.stderr) == (1, True)


def test_a_selection_is_confirmed_or_left_alone(shared: Kontinue) -> None:
    """Counted and named before; Ctrl-C at the question leaves at once, and nothing is changed."""
    shared("execute", "-q", "nap", "-p", "seconds=600", "--detach", "--name", "spared")
    wanted = ("cancel", "-l", "kontinue.cloud/function=nap")
    process, leader = open_terminal(shared, *wanted)
    seen = b""
    for data in read_all(leader):
        seen += data
        if b"[y/N]" in seen and b"Interrupted" not in seen:
            process.send_signal(signal.SIGINT)
            seen += b"Interrupted"
    os.close(leader)
    assert (process.wait(60), b"spared? [y/N]" in seen, b"Traceback" in seen) == (1, True, False)
    code, text = at_terminal(shared, *wanted, stdin="n\n")
    assert (code, "Cancel 1 Execution: spared? [y/N]" in text) == (1, True)
    assert json.loads(shared("get", "spared", "-o", "json").stdout)["status"].get("phase") != "Canceled"
    code, text = at_terminal(shared, *wanted, stdin="y\n")
    assert (code, "executions.kontinue.cloud/spared canceled" in text) == (0, True)


def test_a_name_that_does_not_exist_hides_no_other(shared: Kontinue, done: str) -> None:
    """As with kubectl: what there is is shown, what there is not is an error."""
    some = shared("get", "nope", done, "-o", "name")
    assert (some.returncode, some.stdout) == (1, f"executions.kontinue.cloud/{done}\n")
    assert some.stderr.startswith("error: Execution 'nope' not found in namespace default.")
    none = shared("get", "nope", "neither")
    assert (none.returncode, none.stdout, none.stderr.count("error: ")) == (1, "", 2)


def test_text_of_any_script_passes_any_locale(shared: Kontinue) -> None:
    """A pipe carries UTF-8; a terminal of another encoding shows what it can, and nothing fails."""
    shared("execute", "-q", "greet", "--args", "-", "--name", "zoe", stdin='{"name": "Zoë 名"}')
    latin = {**shared.env, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    result = shared.command("result", "zoe")
    piped = subprocess.run(result, cwd=shared.folder, env=latin, capture_output=True, timeout=60)
    assert (piped.returncode, piped.stdout.decode()) == (0, '"hello Zoë 名"\n')
    (shared.folder / "zoë").write_bytes(shared.kubeconfig.read_bytes())
    ascii_only = {name: value for name, value in latin.items() if name != "PYTHONIOENCODING"}
    started = subprocess.run(
        shared.command("execute", "greet", "-p", "name=Ada", "--kubeconfig", "zoë"),
        cwd=shared.folder,
        env=ascii_only,
        capture_output=True,
        timeout=60,
    )
    assert (started.returncode, started.stdout.decode()) == (0, '"hello Ada"\n')
    code, seen = at_terminal(shared, "result", "zoe", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (code, seen) == (0, '"hello Zo? ?"\n')


def test_a_reader_that_leaves_is_no_error_to_read(shared: Kontinue, done: str, tmp_path: Path) -> None:
    """As with head; nor does anybody see a traceback if streams are closed or a disk is full."""
    for arguments in (["get"], ["functions", "-o", "json"], ["get", "-w"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        gone = subprocess.run(
            shared.command(*arguments),
            cwd=shared.folder,
            env=shared.env,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        os.close(writing)
        assert (gone.returncode, without_notices(gone.stderr)) == (1, "")
    line = " ".join(shared.command("get"))
    for redirection, code in ((">&-", 0), ("2>&-", 0), ("<&-", 0), (">/dev/full", 1)):
        run = ["sh", "-c", f"{line} {redirection}"]
        ended = subprocess.run(run, cwd=shared.folder, env=shared.env, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), redirection
        assert ("No space left" in ended.stderr) is (code == 1)
    closed = ["sh", "-c", " ".join([*shared.command("execute", "greet", "--args", "-"), "<&-"])]
    ended = subprocess.run(closed, cwd=shared.folder, env=shared.env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "stdin is closed" in ended.stderr) == (2, True)
