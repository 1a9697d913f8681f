"""Internal. ``Warning`` headers: what was odd about a request that was carried out all the same.

As kube-apiserver writes them: each text once, in UTF-8; none of a text with control characters, which would end the
header; and when there is too much to tell, the beginnings of the first ones. Called by ``write_handlers``, and by
``router`` for deprecated versions. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_CHARACTERS: Final = 4096
"""Of all texts of one answer, before they are cut. As in kube-apiserver."""
MAX_CUT_CHARACTERS: Final = 256
"""Of each text, once they are cut. As in kube-apiserver."""
_NOT_IN_HEADERS: Final = frozenset({"Cc", "Cs"})
"""Unicode's categories of control characters and of halves of characters."""


def warning_headers(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return a header for each text."""
    unique = [text for text in dict.fromkeys(texts) if text]
    if not unique:
        return ()
    told = [text for text in unique if _fits_a_header(text)]
    if sum(map(len, told)) > MAX_CHARACTERS:
        told = list(_cut(unique))
    return tuple(("Warning", f'299 - "{_escaped(text)}"') for text in told)


def _cut(texts: Iterable[str]) -> Iterable[str]:
    """Yield the beginnings of texts until there are enough."""
    length = 0
    for text in (text[:MAX_CUT_CHARACTERS] for text in texts):
        if length >= MAX_CHARACTERS:
            return
        if _fits_a_header(text):
            length += len(text)
            yield text


def _fits_a_header(text: str) -> bool:
    return text.isprintable() or not any(unicodedata.category(char) in _NOT_IN_HEADERS for char in text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
