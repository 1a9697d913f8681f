"""Command lines of the original, as ``koncli`` takes them."""

from __future__ import annotations

import importlib
import os

import pytest
from typer.main import get_command

from kontinue_engine.cli.koncli import KONCLI, VARIABLES, WAITS, main, translated


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["waitgroup", "list"], ["waitgroup", "list"]),
        (["--log-level", "debug", "waitgroup", "done", "jobs"], ["waitgroup", "done", "jobs"]),
        (["waitgroup", "done", "jobs", "--log-level=warn", "-v"], ["waitgroup", "done", "jobs"]),
        (["waitgroup", "list", "-o", "text"], ["waitgroup", "list", "-o", "table"]),
        (["waitgroup", "list", "--output=text"], ["waitgroup", "list", "-o", "table"]),
        (["waitgroup", "list", "-o", "json"], ["waitgroup", "list", "-o", "json"]),
        (["semaphore", "with", "a", "-v", "--", "b", "-v"], ["semaphore", "with", "a", "--", "b", "-v"]),
        (["--timeout", "30s", "waitgroup", "wait", "a"], ["waitgroup", "wait", "a", "--timeout", "30s"]),
        (["--timeout=30s", "once", "do", "a", "--", "b"], ["once", "do", "a", "--timeout=30s", "--", "b"]),
        (["--timeout", "30s", "barrier", "create", "a"], ["barrier", "create", "a"]),
        (["barrier", "create", "a", "--timeout", "30s"], ["barrier", "create", "a", "--timeout", "30s"]),
        (["waitgroup", "done", "a", "--timeout", "30s"], ["waitgroup", "done", "a"]),
        (["once", "check", "a", "--timeout=30s"], ["once", "check", "a"]),
        (["semaphore", "acquire", "a", "--wait", "--timeout", "0"], ["semaphore", "acquire", "a", "--timeout", "0"]),
        (["semaphore", "acquire", "a", "--wait-duration", "5m"], ["semaphore", "acquire", "a", "--timeout", "5m"]),
        (["semaphore", "acquire", "a", "--wait-for-update"], ["semaphore", "acquire", "a"]),
        (["lease", "acquire", "a", "--wait"], ["lease", "acquire", "a"]),
        (
            ["barrier", "arrive", "a", "--arrival-id", "b", "--wait"],
            ["barrier", "arrive", "a", "--arrival-id", "b", "--wait"],
        ),
        (["barrier", "arrive", "a", "--wait-for-update"], ["barrier", "arrive", "a", "--wait-for-update"]),
        (["-n", "mutex", "waitgroup", "list"], ["-n", "mutex", "waitgroup", "list"]),
        (["--timeout", "1s", "waitgroup", "wait", "a", "--timeout=3s"], ["waitgroup", "wait", "a", "--timeout=3s"]),
        (
            ["--timeout", "1s", "lease", "acquire", "a", "--wait-duration", "3s"],
            ["lease", "acquire", "a", "--timeout", "3s"],
        ),
        (
            ["-n", "gate", "--timeout", "1s", "gate", "wait", "a", "--timeout", "3s"],
            ["-n", "gate", "gate", "wait", "a", "--timeout", "3s"],
        ),
        (
            ["-n", "gate", "--timeout", "1s", "gate", "wait", "a"],
            ["-n", "gate", "gate", "wait", "a", "--timeout", "1s"],
        ),
    ],
)
def test_what_only_the_originals_documents_know_is_understood(given: list[str], taken: list[str]):
    """Scripts that use it go on."""
    assert translated(given, {}) == taken


def test_what_waits_takes_a_timeout_and_nothing_else_does():
    """Else a verb would be told what it does not know, or not be told how long to wait."""
    for kind, waits in WAITS.items():
        verbs = get_command(importlib.import_module(f"kontinue_engine.cli.primitives.{kind}").app).commands
        timed = {name for name, verb in verbs.items() if any("--timeout" in one.opts for one in verb.params)}
        assert timed - {"create"} == waits, kind


def test_the_namespace_of_the_environment_counts_unless_the_line_names_one():
    """As the original documents it."""
    environment = {"KONDUCTOR_NAMESPACE": "batch"}
    assert translated(["waitgroup", "list"], environment) == ["--namespace", "batch", "waitgroup", "list"]
    assert translated(["waitgroup", "list", "-n", "b"], environment) == ["waitgroup", "list", "-n", "b"]


@pytest.mark.parametrize(
    ("variable", "value", "option", "spelled"),
    [
        ("KONCLI_NAMESPACE", "batch", ["--namespace", "batch"], ["-n", "b"]),
        ("KONCLI_KUBECONFIG", "other", ["--kubeconfig", "other"], ["--kubeconfig=b"]),
        ("KONCLI_OUTPUT", "json", ["--output", "json"], ["-o", "yaml"]),
        ("KONCLI_OUTPUT", "text", ["--output", "table"], ["--output=yaml"]),
    ],
)
def test_each_option_of_the_original_has_its_variable(variable: str, value: str, option: list[str], spelled: list[str]):
    """As its sources read them; what the line says goes first, and so does the name that its documents have."""
    listing = ["waitgroup", "list"]
    assert translated(listing, {variable: value}) == [*option, *listing]
    assert translated([*listing, *spelled], {variable: value}) == [*listing, *spelled]
    both = {"KONCLI_NAMESPACE": "batch", "KONDUCTOR_NAMESPACE": "night"}
    assert translated(listing, both) == ["--namespace", "night", *listing]


def test_the_api_group_of_the_environment_counts_unless_the_line_names_one():
    """Whoever works with the original's objects says so once."""
    environment = {"KONDUCTOR_GROUP": "sync.konductor.io"}
    listing = ["waitgroup", "list"]
    assert translated(listing, environment) == ["--api-group", "sync.konductor.io", *listing]
    for named in (["--api-group", "konductor.io"], ["--api-group=konductor.io"]):
        assert translated([*listing, *named], environment) == [*listing, *named]


def test_the_environment_says_nothing_about_what_needs_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Version and completion take no such options."""
    monkeypatch.setenv("KONDUCTOR_NAMESPACE", "batch")
    for words in (["version"], ["completion", "bash"]):
        assert main(words) == 0
        assert capsys.readouterr().out


def test_only_primitives_are_koncli_verbs():
    """Executions are kontinue's."""
    verbs = {"barrier", "gate", "lease", "mutex", "once", "rwmutex", "semaphore", "waitgroup"}
    assert {verb.name for verb in KONCLI.verbs} == verbs | {"completion", "operator", "status", "version"}


def test_a_line_that_makes_no_sense_is_1(capsys: pytest.CaptureFixture[str]):
    """2 says that something was not found."""
    assert main(["waitgroup", "add"]) == 1
    assert "Missing argument" in capsys.readouterr().err
    assert main(["waitgroup", "--help"]) == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_its_completion_asks_koncli(shell: str, capsys: pytest.CaptureFixture[str]):
    """The script of each shell names it, and not kontinue."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "koncli __complete" in script
    assert "kontinue" not in script


def test_status_takes_what_other_verbs_about_primitives_take(capsys: pytest.CaptureFixture[str]):
    """A kind that there is not is 1, as any line that makes no sense."""
    assert main(["status", "tollgate", "a"]) == 1
    assert "No such command" in capsys.readouterr().err
    assert main(["status", "gate"]) == 1
    assert "Missing argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("waitgroup add x --delta many", "not a valid int"),
        ("waitgroup add x --holder job/x", "neither pod/NAME nor execution/NAME"),
        ("semaphore create x --permits 0", "x>=1"),
        ("semaphore create x --permits -1", "x>=1"),
        ("semaphore acquire x --bound-to job/x", "neither pod/NAME nor execution/NAME"),
        ("barrier create x --expected 0", "x>=1"),
        ("barrier create x --quorum -1", "x>=0"),
        ("mutex lock x --holder pod/", "neither pod/NAME nor execution/NAME"),
        ("mutex lock x --tokens 1", "No such option"),
        ("mutex unlock x --token one", "not a valid int"),
        ("mutex with x --timout 5s -- true", "No such option"),
        ("once do x --leese 5s -- true", "No such option"),
        *(
            (line.replace("DURATION", text), why)
            for line in (
                *("waitgroup create x --ttl=DURATION", "waitgroup wait x --timeout=DURATION"),
                *("mutex create x --ttl=DURATION", "mutex lock x --timeout=DURATION", "rwmutex rlock x --ttl=DURATION"),
                *("once create x --ttl=DURATION", "once do x --lease=DURATION -- true"),
                *("semaphore create x --ttl=DURATION", "semaphore acquire x --timeout=DURATION"),
                *("barrier create x --timeout=DURATION", "barrier arrive x --update-timeout=DURATION"),
            )
            for text, why in (
                ("soon", "is not a duration"),
                ("-5s", "is negative"),
                ("99999999999h", "is too long"),
                ("", "it is empty; is a variable not set?"),
            )
        ),
        ("barrier arrive x a --holder b", "one arrives at a time"),
        ("waitgroup done x --delta 2", "add x --delta -2"),
        ("waitgroup done x --delta 5", "add x --delta -5"),
        ("waitgroup done x --delta -5", "add x --delta -5"),
        ("waitgroup done x --delta 0", "it takes off 1"),
        *(
            (line, "it is blank; is a variable not set?")
            for line in (
                *("waitgroup add x --holder=\u2003", "waitgroup add x --operation-id=\u2003"),
                *("mutex lock x --holder=\u2003", "semaphore acquire x --bound-to=\u2003"),
                *("lease acquire x --holder=\u2003", "barrier arrive x --holder=\u2003"),
            )
        ),
    ],
)
def test_what_nobody_can_mean_is_1(line: str, why: str, capsys: pytest.CaptureFixture[str]):
    """No server is asked."""
    assert main(line.split(" ")) == 1
    assert why in capsys.readouterr().err


def test_every_option_that_holds_a_duration_refuses_an_empty_one(capsys: pytest.CaptureFixture[str]):
    """In a script that is a variable which is not set: it would wait for ever, or lock without end."""
    seen = set()
    for kind in WAITS:
        verbs = get_command(importlib.import_module(f"kontinue_engine.cli.primitives.{kind}").app).commands
        for verb, command in verbs.items():
            for option in (one.opts[0] for one in command.params if one.metavar == "DURATION"):
                behind = ["--", "true"] if verb in {"with", "do"} else []
                needed = ["--condition", "Job/x=Complete"] if (kind, verb) == ("gate", "create") else []
                assert main([kind, verb, "x", *needed, option, "", *behind]) == 1, (kind, verb, option)
                assert "it is empty" in capsys.readouterr().err, (kind, verb, option)
                seen.add(option)
    assert seen == {"--timeout", "--ttl", "--lease", "--update-timeout"}


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("KONDUCTOR_TIMEOUT", "abc", "'abc' is not a duration"),
        ("KONDUCTOR_TIMEOUT", "-5s", "'-5s' is negative"),
        ("KONCLI_OUTPUT", "xml", "'xml' is none of text, table, wide, json, yaml, name"),
        ("KONDUCTOR_GROUP", "example.org", "'example.org' is none of konductor.io, sync.konductor.io"),
    ],
)
def test_what_an_environment_variable_says_wrongly_is_blamed_on_it(
    variable: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Nobody has written the option that it stands for."""
    monkeypatch.setenv(variable, value)
    for line in ("waitgroup wait x", "mutex lock x", "barrier arrive x", "mutex with x -- true"):
        assert main(line.split()) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"${variable}: {why}" in said
        assert not {"--timeout", "--output", "--api-group"} & set(said.split())


WRONG = (("KONCLI_OUTPUT", "xml"), ("KONDUCTOR_GROUP", "example.org"))


@pytest.mark.parametrize(
    ("variable", "value", "spelled"),
    [
        *((*WRONG[0], spelled) for spelled in (["-ojson"], ["-otext"], ["-o", "json"], ["--output=json"])),
        *((*WRONG[1], spelled) for spelled in (["--api-group", "konductor.io"], ["--api-group=konductor.io"])),
        ("KONDUCTOR_NAMESPACE", "batch", ["-nshop"]),
    ],
)
def test_a_variable_means_nothing_where_the_line_says_it(variable: str, value: str, spelled: list[str]):
    """However it is spelled, before the verb or behind: what the variable says wrongly is not looked at."""
    listing, environment = ["mutex", "list"], {variable: value}
    for line in ([*spelled, *listing], [*listing, *spelled]):
        assert translated(line, environment) == translated(line, {})


def test_a_value_is_no_option():
    """A selector or a namespace that looks like one leaves the variable what it says."""
    line = ["mutex", "list", "-l", "-ojson"]
    assert translated(line, {"KONCLI_OUTPUT": "yaml"}) == ["--output", "yaml", *line]


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_variable_that_says_something_wrong_does_not_end_completion(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The line that is typed may yet say it, or be about something else."""
    monkeypatch.setattr(os, "environ", {**os.environ, variable: value})  # a process completes once, and notes it there
    for words, found in ((["mutex", "lo"], "lock"), (["mutex", "list", "-o", "js"], "json"), (["ver"], "version")):
        assert main(["__complete", "--", *words]) == 0
        said = capsys.readouterr()
        assert (said.out.split("\t")[0].strip(), said.err) == (found, "")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch):
    """As manifests have them that set all of them."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
    assert translated(["waitgroup", "list"], dict.fromkeys(VARIABLES, "")) == ["waitgroup", "list"]


def test_help_names_the_program_that_was_called(capsys: pytest.CaptureFixture[str]):
    """Who has koncli need not have heard of kontinue; what a script needs to know stands at the top."""
    assert main(["mutex", "--help"]) == 0
    assert "What they mean: koncli --help" in capsys.readouterr().out
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for promised in (*VARIABLES, "2 not found", "koncli mutex --help"):
        assert promised in said
