"""Which verb takes which global option: told by a table here, and checked by what the command line does."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from kontinue_engine.cli.main import VERBS, build_app, main
from kontinue_engine.cli.options import ANYTHING, GlobalOptions

VALUES = {
    "namespace": ["-n", "demo"],
    "all_namespaces": ["-A"],
    "context": ["--context", "c"],
    "kubeconfig": ["--kubeconfig", "gone"],
    "selector": ["-l", "team=blue"],
    "output": ["-o", "json"],
    "quiet": ["-q"],
    "no_color": ["--no-color"],
    "api_groups": ["--api-group", "sync.konductor.io"],
}
PRINTS = {"quiet", "no_color"}
IN_PLACE = {*PRINTS, "namespace"}
NAMED = {*PRINTS, "output", "namespace", "context", "kubeconfig"}
SELECTED = {*NAMED, "selector"}
LISTED = {*SELECTED, "all_namespaces"}
GROUPED = {*LISTED, "api_groups"}
TAKES = {
    **dict.fromkeys(["get", "functions", "suspensions", "schedules", "archive", "shards", "replay"], LISTED),
    **dict.fromkeys(["cancel", "skip", "retry", "resume", "wait", "describe"], SELECTED),
    **dict.fromkeys(["execute", "result", "tree", "watch", "logs", "bench", "worker"], NAMED),
    **dict.fromkeys(["barrier", "gate", "mutex", "once", "rwmutex", "semaphore", "waitgroup"], GROUPED),
    "doctor": {*NAMED, "all_namespaces", "api_groups"},
    **dict.fromkeys(["init", "apiserver", "completion"], PRINTS),
    **dict.fromkeys(["dev", "manifest"], IN_PLACE),
    "version": {*PRINTS, "output"},
}
"""What a user may expect of a verb."""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server can be found from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize("verb", TAKES)
def test_a_verb_takes_what_means_something_to_it(verb: str) -> None:
    """The table of the command line and that of this test say the same."""
    (found,) = (one for one in VERBS if one.name == verb)
    assert found.takes == TAKES[verb]


@pytest.mark.parametrize(
    ("verb", "option"), [(one.name, option) for one in VERBS for option in sorted(ANYTHING - one.takes)]
)
def test_what_would_mean_nothing_is_refused(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than passed over: who types -A expects that it does something."""
    assert main([verb, *VALUES[option]]) == 2
    captured = capsys.readouterr()
    assert f"kontinue {verb} does not take it" in " ".join(captured.err.replace("│", " ").split())
    assert not captured.out


@pytest.mark.parametrize("verb", [one.name for one in VERBS])
def test_no_verb_has_an_option_that_is_spelled_like_a_global_one(verb: str) -> None:
    """So that -n, -o and the others mean the same everywhere."""
    root = typer.main.get_command(build_app([verb]))
    taken = {spelling for parameter in root.params for spelling in parameter.opts}
    assert {"-n", "-A", "--context", "--kubeconfig", "-l", "-o", "-q", "--no-color"} <= taken
    command = root.commands[verb]
    below = [command, *getattr(command, "commands", {}).values()]
    own = {
        spelling
        for one in below
        for parameter in one.params
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    assert own.isdisjoint(taken)


def test_what_the_global_options_say_reaches_every_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and behind the verb, with a blank, an equals sign or nothing between."""
    seen: list[GlobalOptions] = []

    def look(ctx: typer.Context) -> None:
        seen.append(ctx.find_root().obj)

    monkeypatch.setattr("kontinue_engine.cli.get.command", look)
    for arguments in (
        ["get", "-n", "demo", "-o", "yaml", "-l", "a=b", "-q"],
        ["-ndemo", "get", "-oyaml", "-la=b", "--quiet"],
        ["--namespace=demo", "--output=yaml", "get", "--selector=a=b", "-q"],
    ):
        assert main(arguments) == 0
    assert len({str(options) for options in seen}) == 1
    assert (seen[0].namespace, seen[0].output, seen[0].selector, seen[0].quiet) == ("demo", "yaml", "a=b", True)
