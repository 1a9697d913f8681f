"""How an end is explained."""

from collections.abc import Callable

import pytest

from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, ExecutionError, Phase
from kontinue_engine.cli.causes import ways_out
from kontinue_engine.cli.following import explain_end, say_detached
from kontinue_engine.cli.options import GlobalOptions

Make = Callable[..., Execution]


def test_success_needs_no_words(make_execution: Make) -> None:
    """The result says it."""
    assert explain_end(make_execution("x", phase=Phase.COMPLETED), flags="") == ""


def test_a_failure_shows_reason_traceback_and_where_to_look(make_execution: Make) -> None:
    """Commands repeat the namespace in use."""
    attempt = ExecutionAttempt(number=1, error=ExecutionError(type="ValueError", traceback="Traceback\n  here"))
    execution = make_execution("x", phase=Phase.FAILED, reason="Error", message="no luck", attempts=[attempt])
    text = explain_end(execution, flags=" -n demo")
    assert text.startswith("Execution x is Failed (Error): no luck\n    Traceback\n      here")
    assert text.endswith("More: kontinue describe x -n demo")


def test_blocked_says_how_to_get_out(make_execution: Make) -> None:
    """A matching worker, all of it anew, or cancel."""
    text = explain_end(make_execution("x", phase=Phase.BLOCKED, message="step 1 differs"), flags=" -n demo")
    assert "step 1 differs" in text
    assert ways_out("x", " -n demo") in text


def test_whoever_leaves_is_told_commands_that_work(capsys: pytest.CaptureFixture[str]) -> None:
    """With the namespace where the command line would not find it by itself."""
    say_detached(GlobalOptions(), "x", "")
    say_detached(GlobalOptions(), "x", "shop")
    say_detached(GlobalOptions(namespace="shop", kubeconfig="file"), "x", "shop")
    watched = [line.partition("Watch it: ")[2] for line in capsys.readouterr().err.splitlines() if "Watch" in line]
    assert watched == [
        "kontinue tree -w x",
        "kontinue tree -w x -n shop",
        "kontinue tree -w x -n shop --kubeconfig file",
    ]
