"""Completion as a shell sees it: verbs, options, names from the server, and silence where nothing can be said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kubectls
from kontinue_engine.cli.main import VERBS

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import
WaitUntil = Callable[..., None]


def candidates(kontinue: Kontinue, *words: str) -> list[str]:
    """What may stand where the last word is."""
    done = kontinue("__complete", "--", *words)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def offered(wait_until: WaitUntil, kontinue: Kontinue, *words: str) -> list[str]:
    """What may stand there, once the server has answered in time: a line is not held up for long."""
    found: list[str] = []

    def is_answered() -> bool:
        found[:] = candidates(kontinue, *words)
        return found != []

    wait_until("candidates", is_answered)
    return found


def test_verbs_options_and_their_values_are_completed(kontinue: Kontinue) -> None:
    """Without any server; global options may stand anywhere."""
    assert set(candidates(kontinue, "")) == {verb.name for verb in VERBS}
    assert candidates(kontinue, "sched") == ["schedules"]
    assert candidates(kontinue, "schedules", "") == ["suspend", "resume", "trigger"]
    assert candidates(kontinue, "cancel", "--me") == ["--message"]
    assert candidates(kontinue, "get", "-o", "ya") == ["yaml"]
    assert candidates(kontinue, "completion", "") == ["bash", "zsh", "fish"]


def test_names_come_from_the_server(shared: Kontinue, wait_until: WaitUntil) -> None:
    """Of Executions and of functions, in the namespace that the line says."""
    name = shared("execute", "--detach", "greet", "-p", "name=Ada").stdout.strip()
    assert offered(wait_until, shared, "get", name[:-3]) == [name]
    assert offered(wait_until, shared, "-q", "describe", "other", name[:-3]) == [name]
    assert candidates(shared, "get", "-n", "elsewhere", name[:-3]) == []
    assert offered(wait_until, shared, "execute", "gre") == ["greet"]


def test_only_names_are_offered_that_the_verb_can_do_something_with(shared: Kontinue, wait_until: WaitUntil) -> None:
    """What has ended cannot be canceled or skipped, what runs not retried, and what waits for nothing not resumed."""
    shared("execute", "-q", "greet", "-p", "name=Ada", "--name", "offer-done")
    shared("execute", "-q", "fail", "-p", "message=no", "--name", "offer-failed")
    assert shared("execute", "-q", "approve", "--name", "offer-asks", "--detach").returncode == 0
    assert shared("execute", "-q", "nap", "-p", "seconds=600", "--name", "offer-sleeps", "--detach").returncode == 0
    every = ["offer-asks", "offer-done", "offer-failed", "offer-sleeps"]
    assert offered(wait_until, shared, "get", "offer-") == every
    assert offered(wait_until, shared, "cancel", "offer-") == ["offer-asks", "offer-sleeps"]
    assert offered(wait_until, shared, "skip", "offer-") == ["offer-asks", "offer-sleeps"]
    assert offered(wait_until, shared, "retry", "offer-") == ["offer-failed"]
    wait_until("its Suspension", lambda: "offer-asks" in candidates(shared, "resume", "offer-"))
    assert {"offer-done", "offer-failed"}.isdisjoint(candidates(shared, "resume", "offer-"))
    shared("cancel", "offer-asks", "offer-sleeps")


def test_koncli_completes_its_own_verbs(tmp_path: Path) -> None:
    """Those below them, too; what the environment says is no hindrance."""
    program = Path(sys.executable).parent / "koncli"
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none"), "KONDUCTOR_NAMESPACE": "batch"}

    def offered(*words: str) -> set[str]:
        done = subprocess.run(
            [program, "__complete", "--", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return {line.split("\t")[0] for line in done.stdout.splitlines()}

    kinds = {"barrier", "gate", "lease", "mutex", "once", "rwmutex", "semaphore", "waitgroup"}
    assert offered("") == kinds | {"completion", "operator", "status", "version"}
    assert offered("status", "") == kinds | {"all"}
    assert offered("gate", "wait", "--ti") == {"--timeout"}
    assert offered("gate", "wait", "") == set()


def test_nothing_is_said_where_no_server_is(kontinue: Kontinue) -> None:
    """An error has no place on a line that somebody types."""
    done = kontinue.run("__complete", "--", "get", "--kubeconfig", "gone", "")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_kubectl_is_told_that_no_file_names_follow() -> None:
    """Its plugins answer so: candidates, then what to do."""
    program = Path(sys.executable).parent / "kubectl_complete-kontinue"
    done = subprocess.run([program, "schedules", "tr"], capture_output=True, text=True, timeout=60, check=True)
    first, *_, last = done.stdout.splitlines()
    assert (first.split("\t")[0], last) == ("trigger", ":4")


def test_kubectl_runs_and_completes_it_as_a_plugin(tmp_path: Path) -> None:
    """An unmodified kubectl finds both programs on the PATH."""
    kubectl = kubectls.program(kubectls.ENVIRONMENT)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    answers = [
        subprocess.run(
            [kubectl, *words], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for words in (["kontinue", "version"], ["__complete", "kontinue", "schedules", "tr"])
    ]
    assert answers[0].startswith("kontinue ")
    assert answers[1].startswith("trigger\t")


SHELLS = {
    "bash": 'COMP_WORDS=({line}); COMP_CWORD=2; _{program}; echo "${COMPREPLY[@]}"',
    "fish": "complete -C '{line}'",
    # The functions that zsh's line editor offers stand here, since no line is edited.
    "zsh": "compdef() { }; _describe() { print -l ${(P)2}; }; _files() { }",
}


@pytest.mark.parametrize(("line", "completed"), [("kontinue schedules tr", "trigger"), ("koncli gate re", "reset")])
@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_completes_by_its_script(tmp_path: Path, shell: str, line: str, completed: str) -> None:
    """The script is what ``kontinue completion`` prints, and ``koncli completion`` for its own verbs."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")
    program = line.partition(" ")[0]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = subprocess.run(
        [program, "completion", shell], env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    asked = SHELLS[shell].replace("{line}", line).replace("{program}", program)
    lines = [script, asked]
    if shell == "zsh":
        lines = [asked, script, f"words=({line}); CURRENT=3; _{program}"]
    (tmp_path / "line").write_text("\n".join(lines))
    done = subprocess.run([shell, "line"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\t")[0].split(":")[0].strip() == completed, done.stdout + done.stderr
