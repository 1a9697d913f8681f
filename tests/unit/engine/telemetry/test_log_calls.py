"""Every log line of the engine about an Execution says which one it is: read from the source, not from luck."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[4] / "engine" / "kontinue_engine"
LEVELS = {"debug", "info", "warning", "error"}
BY_NAME_ONLY = {"not canceled", "retry not carried out"}
"""Lines about what nobody here has read: a name is all that is known."""
OF_THE_PROCESS = {"namespace", "group", "shard"}


def log_calls() -> Iterator[tuple[str, str, set[str | None]]]:
    """Yield where a line is logged, its event, and its fields; None stands for ``**fields``."""
    for source in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            is_log = isinstance(node.func.value, ast.Name) and node.func.value.id == "_log"
            if is_log and node.func.attr in LEVELS and node.args:
                event = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
                where = f"{source.relative_to(ENGINE)}:{node.lineno}"
                yield where, str(event), {keyword.arg for keyword in node.keywords}


CALLS = list(log_calls())


def test_log_calls_are_found() -> None:
    """The tests below look at something."""
    assert len(CALLS) > 50


def test_a_line_about_an_execution_has_its_uid() -> None:
    """Names come again when something is deleted and created anew; ``kontinue logs`` chooses by uid."""
    named = [call for call in CALLS if "execution" in call[2]]
    assert [(where, event) for where, event, fields in named if "uid" not in fields and event not in BY_NAME_ONLY] == []


def test_no_line_says_of_itself_what_all_lines_of_its_process_say() -> None:
    """``shard`` is the one that writes the line, and never another one that it is about."""
    assert [(where, event) for where, event, fields in CALLS if fields & OF_THE_PROCESS] == []
