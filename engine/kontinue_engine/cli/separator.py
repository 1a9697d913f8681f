"""Internal. Whether ``--`` sets the command apart that a verb runs. Called by ``kontinue_engine.cli.main``.

Global options count wherever they stand, so ``mutex with db backup -n prod`` would lock another ``db`` than is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kontinue_engine.cli.options import is_global, lacks_value

_RUNNING: Final = frozenset(
    {("lease", "with"), ("mutex", "with"), ("once", "do"), ("rwmutex", "with"), ("semaphore", "with")}
)
"""Verbs that run a command, which stands behind a name."""
_FLAGS: Final = frozenset({"--read", "-h", "--help"})
"""Their options that have no value."""


def ambiguous_option(arguments: Sequence[str]) -> str:
    """Return the first global option that may as well be one of the command; empty if there is none."""
    words: list[str] = []
    queue = list(arguments)
    while queue and queue[0] != "--":
        word = queue.pop(0)
        if not word.startswith("-"):
            words.append(word)
        elif len(words) > 3:
            if tuple(words[:2]) in _RUNNING and is_global(word):
                return word
        elif "=" not in word and (lacks_value([word]) or not is_global(word)) and word not in _FLAGS:
            del queue[:1]  # its value
    return ""
