"""What the command line says on stderr where a server is slow to answer, see ``cli.connection``: any machine may be."""

from __future__ import annotations


def is_notice(line: str) -> bool:
    """Tell whether a line says that no answer has come yet."""
    return line.startswith("no answer from")


def without_notices(text: str) -> str:
    """Leave such lines out."""
    return "".join(line for line in text.splitlines(keepends=True) if not is_notice(line))
