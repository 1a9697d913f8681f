"""Internal. Exit codes of the command line, in one place. Scripts rely on them, so they never change meaning."""

from __future__ import annotations

from typing import Final

from kontinue.api.v1alpha1 import Phase

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
FAILED: Final = 3
CANCELED: Final = 4
BLOCKED: Final = 5
TIMEOUT: Final = 124
"""As ``timeout(1)`` says it."""
DETACHED: Final = 130
"""128 + SIGINT: the user pressed Ctrl-C; what was watched goes on."""

_BY_PHASE: Final = {
    Phase.COMPLETED: OK,
    Phase.SKIPPED: OK,
    Phase.FAILED: FAILED,
    Phase.CANCELED: CANCELED,
    Phase.BLOCKED: BLOCKED,
}


def exit_code_of(phase: Phase) -> int:
    """Return the exit code for an Execution that a verb stopped watching in this phase."""
    return _BY_PHASE.get(phase, ERROR)
