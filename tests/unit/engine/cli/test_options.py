"""Global options may stand before and after the verb."""

import pytest

from kontinue_engine.cli.options import GlobalOptions, color_wanted, hoist_globals


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
