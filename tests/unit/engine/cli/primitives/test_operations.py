"""Exit codes of the verbs for primitives."""

from __future__ import annotations

import pytest
import typer

from kontinue import errors
from kontinue_engine.cli.options import GlobalOptions
from kontinue_engine.cli.primitives import operations


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("gone", status=404), 2),
        (errors.WaitTimeout("too long"), 3),
        (errors.Forbidden("no", status=403), 4),
        (errors.Unauthorized("who", status=401), 4),
        (errors.InvalidState("the counter is 0"), 1),
        (errors.Unavailable("away"), 1),
    ],
)
def test_scripts_can_tell_errors_apart(error: Exception, code: int, capsys: pytest.CaptureFixture[str]):
    """As documented; the message goes to stderr."""

    async def fail() -> int:
        raise error

    with pytest.raises(typer.Exit) as left:
        operations.run(fail)
    assert left.value.exit_code == code
    said = capsys.readouterr()
    assert (said.out, said.err.startswith(f"error: {error}")) == ("", True)


def test_an_error_among_tasks_is_told_like_one_alone():
    """What is a bug is not hidden."""

    async def fail_in_a_group() -> int:
        raise ExceptionGroup("tasks", [errors.NotFound("gone", status=404)])

    async def have_a_bug() -> int:
        raise ExceptionGroup("tasks", [ValueError("a bug")])

    with pytest.raises(typer.Exit) as left:
        operations.run(fail_in_a_group)
    assert left.value.exit_code == 2
    with pytest.raises(ExceptionGroup):
        operations.run(have_a_bug)


def test_progress_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]):
    """It names holders, who may call themselves anything."""
    operations.Progress(GlobalOptions()).show("held by x\x1b[31m\nfree")
    assert capsys.readouterr().err == "held by x [31m free\n"
