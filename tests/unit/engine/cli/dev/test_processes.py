"""How an end is described."""

import pytest

from kontinue_engine.cli.dev.processes import describe_exit


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exit code 0"), (-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV"), (-99, "killed by signal 99")],
)
def test_signals_have_names(code: int, text: str) -> None:
    """People know SIGKILL, not -9."""
    assert describe_exit(code) == text
