"""Internal. What ``kontinue doctor`` has to say: findings, in order of weight, and as text. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from kontinue_engine.cli.text import DIM, RED, indent, paint

MAX_PER_CHECK: Final = 10
"""Of one severity; the rest is counted. A thousand Blocked Executions have one cause."""
_YELLOW: Final = "33"
_GREEN: Final = "32"


class Severity(enum.StrEnum):
    """How bad it is. Errors make the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    OK = "ok"


_MARKS: Final = {Severity.ERROR: ("✗", RED), Severity.WARNING: ("!", _YELLOW), Severity.OK: ("✓", _GREEN)}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        check: which check says it, one word.
        object: what it is about, as ``executions/nightly-x7``; empty for the server as a whole.
        what: what was found.
        remedy: what to do; empty if nothing.
    """

    severity: Severity
    check: str
    object: str = ""
    what: str
    remedy: str = ""


def ok(check: str, what: str, *, about: str = "") -> Finding:
    """Return that something is as it should be."""
    return Finding(severity=Severity.OK, check=check, object=about, what=what)


def warning(check: str, what: str, remedy: str, *, about: str = "") -> Finding:
    """Return something that may become a problem."""
    return Finding(severity=Severity.WARNING, check=check, object=about, what=what, remedy=remedy)


def error(check: str, what: str, remedy: str, *, about: str = "") -> Finding:
    """Return a problem."""
    return Finding(severity=Severity.ERROR, check=check, object=about, what=what, remedy=remedy)


def folded(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the first ones of each check and severity, and one that counts the rest."""
    counts: dict[tuple[str, Severity], int] = {}
    for finding in findings:
        key = (finding.check, finding.severity)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= MAX_PER_CHECK:
            yield finding
    for (check, severity), count in counts.items():
        if count > MAX_PER_CHECK:
            yield Finding(severity=severity, check=check, what=f"{count - MAX_PER_CHECK} more of this kind")


def format_findings(findings: Sequence[Finding], *, color: bool) -> str:
    """Return them as text, those with a remedy above it."""
    return "\n".join(_format(finding, color=color) for finding in findings)


def _format(finding: Finding, *, color: bool) -> str:
    mark, code = _MARKS[finding.severity]
    about = f"{finding.object}: " if finding.object else ""
    what, *more = f"{about}{finding.what}".split("\n")
    lines = [f"{paint(mark, code, color=color)} {paint(finding.check.ljust(10), DIM, color=color)} {what}"]
    lines += [indent(line, " " * 13) for line in more]
    if finding.remedy:
        lines.append(indent(f"-> {finding.remedy}", " " * 13))
    return "\n".join(lines)
