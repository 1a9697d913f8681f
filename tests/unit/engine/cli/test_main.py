"""The command line as a whole: help, usage errors, and our errors without tracebacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli.main import VERBS, build_app, main


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server can be found from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Also those whose modules are not loaded."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb.name in out for verb in VERBS)


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if verb.name != "worker"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its module loads and defines a command."""
    assert main([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_worker_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Worker run is listed below worker."""
    assert main(["worker", "--help"]) == 0
    assert "run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-verb"],
        ["get", "-o", "xml"],
        ["get", "--phase", "Dreaming"],
        ["get", "function.kontinue.cloud/f"],
        ["execute"],
        ["execute", "f", "--timeout", "soon"],
        ["execute", "f", "--args", "{"],
        ["execute", "f", "--args", "@missing.json"],
        ["cancel"],
        ["cancel", "x", "-l", "a=b"],
        ["skip"],
        ["wait"],
        ["describe"],
        ["resume"],
        ["get", "x", "-l", "a=b"],
        ["get", "-w", "x", "y"],
        ["schedules", "suspend"],
        ["schedules", "trigger", "x", "-A"],
        ["bench", "f", "-o", "name"],
        ["resume", "x", "--payload", "yes"],
        ["execute", "f", "--interactive"],
        ["skip", "x", "--result", "done"],
        ["skip", "x", "--result", "@missing.json"],
        ["dev", "no-colon"],
        ["dev", "app:app", "--port", "70000"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And say something on stderr, nothing on stdout."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert not captured.out


def test_an_unknown_phase_is_answered_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them."""
    assert main(["get", "--phase", "Dreaming"]) == 2
    err = capsys.readouterr().err.lower()
    assert all(phase.lower() in err for phase in Phase)


def test_cancel_without_names_asks_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Another mistake than both names and a selector."""
    main(["cancel"])
    assert "which Executions?" in capsys.readouterr().err
    main(["cancel", "x", "-l", "a=b"])
    assert "not both" in capsys.readouterr().err


def test_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As other commands have it."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kontinue ")


def test_no_server_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    """It lists what was tried, without a traceback."""
    assert main(["get"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: no Kubernetes API server found. Tried:")
    assert "Traceback" not in err


def test_logs_without_files_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    """It says where else the lines may be."""
    assert main(["logs", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: no log files")


@pytest.mark.parametrize(
    ("argument", "forbidden"),
    [
        ("--help", {"kontinue.client.client", "kontinue.kube.http", "rich.live", "pydantic", "kubernetes", "uvloop"}),
        ("get", {"rich.live", "pydantic", "kubernetes", "uvloop", "kontinue_engine.worker"}),
        ("dev", {"rich.live", "pydantic", "kubernetes", "uvloop", "kontinue.client.client", "kontinue.kube.http"}),
    ],
)
def test_only_what_the_verb_needs_is_loaded(argument: str, forbidden: set[str]) -> None:
    """Start time is a promise: each of these costs a good part of a command's 0.4 s, or of dev's memory."""
    code = (
        f"import sys; from kontinue_engine.cli.main import build_app; build_app([{argument!r}]);"
        f"print(*({forbidden!r} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["version"], ["--version"], ["version", "-o", "json"], ["__complete", "--", "sch"]],
    ids=" ".join,
)
def test_what_needs_no_server_loads_nothing_for_one(arguments: list[str]) -> None:
    """Nor what draws boxes, where nobody looks: a shell waits for each Tab."""
    heavy = {"kontinue", "asyncio", "ssl", "yaml", "rich", "pydantic", "kubernetes", "aiohttp", "uvloop", "jsonschema"}
    code = (
        f"import sys; from kontinue_engine.cli.main import main; assert main({arguments!r}) == 0;"
        f"print(*({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert done.stderr.strip() == ""


def test_a_verb_that_lists_loads_no_more_than_the_client(tmp_path: Path) -> None:
    """What runs functions, draws trees or validates schemas of others stays where it is."""
    code = (
        "import sys; from kontinue_engine.cli.main import main; assert main(['get']) == 1;"
        "print(*(name for name in sys.modules if name.startswith(('rich', 'pydantic', 'kubernetes', 'aiohttp',"
        "'uvloop', 'kontinue_engine.worker', 'kontinue_engine.apiserver', 'kontinue_engine.pool'))))"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "no Kubernetes API server found" in done.stderr


def test_verbs_are_built_by_name() -> None:
    """A verb that is not named gets an empty stand-in."""
    names = {command.name for command in build_app(["get"]).registered_commands}
    assert {"get", "dev", "execute"} <= names
