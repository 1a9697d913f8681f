"""Internal. Exit codes of the command line, in one place. Scripts rely on them, so they never change meaning."""

from __future__ import annotations

from typing import Final

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

_BY_PHASE: Final = {"Completed": OK, "Skipped": OK, "Failed": FAILED, "Canceled": CANCELED, "Blocked": BLOCKED}
"""By the values of ``Phase``, which is not loaded for the verbs that need no more than a code."""


def exit_code_of(phase: str) -> int:
    """Return the exit code for an Execution that a verb stopped watching in this phase."""
    return _BY_PHASE.get(phase, ERROR)
