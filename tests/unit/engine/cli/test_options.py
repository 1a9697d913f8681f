"""Global options may stand before and after the verb."""

import pytest
import typer

from kontinue_engine.cli.options import (
    GlobalOptions,
    color_wanted,
    execution_name,
    function_name,
    hoist_globals,
    names_suspension,
    schedule_name,
    suspension_name,
)


@pytest.mark.parametrize(
    ("given", "hoisted"),
    [
        (["get", "x", "-n", "demo"], ["-n", "demo", "get", "x"]),
        (["-n", "demo", "get"], ["-n", "demo", "get"]),
        (["get", "--namespace=demo", "-o", "json"], ["--namespace=demo", "-o", "json", "get"]),
        (["get", "-A", "-q", "--no-color"], ["-A", "-q", "--no-color", "get"]),
        (["execute", "f", "-p", "a=-n"], ["execute", "f", "-p", "a=-n"]),
        (["cancel", "--", "-n"], ["cancel", "--", "-n"]),
        (["get", "-n"], ["-n", "get"]),
    ],
)
def test_globals_come_first(given: list[str], hoisted: list[str]) -> None:
    """Their order and everything else stays; what stands behind -- is not looked at."""
    assert hoist_globals(given) == hoisted


def test_flags_repeat_the_target() -> None:
    """Commands that we suggest go to the same server and namespace."""
    assert GlobalOptions().flags() == ""
    assert GlobalOptions(namespace="demo", context="prod").flags() == " -n demo --context prod"


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By option and by environment (https://no-color.org)."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert color_wanted(no_color=False)
    assert not color_wanted(no_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color_wanted(no_color=False)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "execution/x",
        "executions.kontinue.cloud/x",
        "execution.kontinue.cloud/x",
        "executions.v1alpha1.kontinue.cloud/x",
    ],
)
def test_names_are_understood_as_they_are_printed(text: str) -> None:
    """By ``-o name`` here and in kubectl."""
    assert execution_name(text) == "x"


def test_a_name_of_another_kind_is_refused() -> None:
    """Instead of looking for an Execution of that name."""
    assert function_name("functions.kontinue.cloud/f") == "f"
    with pytest.raises(typer.BadParameter, match="does not name a Function"):
        function_name("executions.kontinue.cloud/f")
    with pytest.raises(typer.BadParameter, match="does not name an Execution"):
        execution_name("pod/f")


@pytest.mark.parametrize(
    ("given", "hoisted"),
    [
        (["get", "-oyaml"], ["-oyaml", "get"]),
        (["get", "-ndemo"], ["-ndemo", "get"]),
        (["get", "-Aw"], ["-A", "get", "-w"]),
        (["resume", "-qry", "x"], ["-q", "resume", "-r", "-y", "x"]),
        (["execute", "f", "-pA=q"], ["execute", "f", "-pA=q"]),
    ],
)
def test_globals_are_found_as_kubectl_users_shorten_them(given: list[str], hoisted: list[str]) -> None:
    """Values without a blank, flags behind one dash; what belongs to a verb's own option is left alone."""
    assert hoist_globals(given) == hoisted


def test_names_of_other_kinds_are_understood_too() -> None:
    """Of Suspensions and schedules, as ``-o name`` prints them."""
    assert suspension_name("suspensions.kontinue.cloud/s") == "s"
    assert schedule_name("scheduledexecutions.kontinue.cloud/s") == "s"
    assert names_suspension("suspensions.kontinue.cloud/s")
    assert not names_suspension("s")
    with pytest.raises(typer.BadParameter, match="does not name a Suspension"):
        suspension_name("execution/x")
