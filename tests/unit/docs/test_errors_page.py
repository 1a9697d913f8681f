"""docs/errors.md lists every public error once, and a test provokes each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kontinue import errors

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \|(.+)\|$", re.MULTILINE)
BASES = {"KontinueError", "ApiError", "CodecError", "RecordedFailure"}
FROM_CLIENT = "integration/client/test_errors.py"
IN_FUNCTIONS = "semantics/test_errors.py"
PROVOKED_BY = {
    **dict.fromkeys(
        (
            *("ConfigError", "UnknownFunction", "InvalidArguments", "AlreadyExists", "NotFound", "InvalidState"),
            *("InvalidPayload", "InvalidResult", "ExecutionFailed", "ExecutionCanceled", "ExecutionBlocked"),
            *("ResultDecodeError", "WaitTimeout", "Unavailable", "Unauthorized", "Conflict", "Invalid", "TooLarge"),
        ),
        FROM_CLIENT,
    ),
    **dict.fromkeys(
        (
            *("StepFailed", "ChildFailed", "JobFailed", "SuspendTimeout", "NonRetryableError", "ContextError"),
            *("ExecutionTimedOut", "ExecutionInterrupted", "ContinueAsNew", "DefinitionError"),
        ),
        IN_FUNCTIONS,
    ),
    "Forbidden": "integration/helm/test_roles.py",
    "AlreadyExecuted": "integration/client/test_once.py",
    "Held": "integration/client/test_mutex.py",
    "LockLost": "integration/client/test_mutex.py",
    "Gone": "integration/kube/test_http.py",
    "PrimitiveFailed": "semantics/test_primitives.py",
    "LimitExceeded": "semantics/test_histories.py",
}
"""Error -> the test that provokes it."""


def test_the_page_lists_every_error_and_no_other() -> None:
    """Each has one row: when it comes, whose fault it is, what to do."""
    rows = ROW.findall(PAGE.read_text())
    assert sorted(name for name, _ in rows) == list(errors.__all__)
    for name, cells in rows:
        assert cells.count(" | ") == (0 if name in BASES else 2), name
        assert all(cell.strip() for cell in cells.split(" | ")), name


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - BASES))
def test_each_error_is_provoked_by_a_test(name: str) -> None:
    """Which one is known here."""
    text = (TESTS / PROVOKED_BY[name]).read_text()
    used = text.split("\n\n\n", 1)[1]  # what stands below the imports
    assert re.search(rf"\b{name}\b", used)
