"""Internal. Whether ``--`` sets the command apart that a verb runs. Called by ``kontinue_engine.cli.main``.

Options count wherever they stand, so ``mutex with db backup -n prod`` would lock another ``db`` than is meant, and
``mutex with db copy --timeout 5s src`` would run ``copy src``. Judged are the words as they were typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kontinue_engine.cli.options import is_global, lacks_value

_RUNNING: Final = frozenset(
    {("lease", "with"), ("mutex", "with"), ("once", "do"), ("rwmutex", "with"), ("semaphore", "with")}
)
"""Verbs that run a command, which stands behind a name."""
_FLAGS: Final = frozenset({"--read", "-h", "--help", "--version"})
"""Options that have no value, other than those of ``options``, and"""
_IGNORED: Final = frozenset({"-v", "--verbose", "--wait", "--wait-for-update"})
"""those of them that only ``koncli`` takes."""


def ambiguous_option(arguments: Sequence[str]) -> str:
    """Return the first option, or ``--``, behind the first word of a command that a verb runs; empty if none is."""
    words: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word == "-":  # a - alone is a file, to most commands
            words.append(word)
        elif len(words) > 3 and tuple(words[:2]) in _RUNNING:
            return word
        elif word == "--":
            break
        elif _has_value(word):
            del queue[:1]
    return ""


def _has_value(word: str) -> bool:
    """Tell whether the next word is the value of this option."""
    if "=" in word or word in _FLAGS | _IGNORED:
        return False
    return lacks_value([word]) or not is_global(word)
