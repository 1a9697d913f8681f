"""Scripts rely on exit codes."""

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli.exit_codes import exit_code_of


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.COMPLETED, 0),
        (Phase.SKIPPED, 0),
        (Phase.FAILED, 3),
        (Phase.CANCELED, 4),
        (Phase.BLOCKED, 5),
        (Phase.EXECUTING, 1),
    ],
)
def test_each_end_has_its_code(phase: Phase, code: int) -> None:
    """The codes of the command line's contract."""
    assert exit_code_of(phase) == code
