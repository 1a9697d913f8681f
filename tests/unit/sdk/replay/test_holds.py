"""Since when something is held, by the records of holds and releases."""

from __future__ import annotations

import pytest

from kontinue.replay.holds import held_since
from kontinue.replay.records import Record, RecordedError, RecordKind


def record(seq: int, text: str) -> Record:
    """Return the record of ``+a`` (a is held), ``-a`` (it is given back) or ``!a`` (it was not to be had)."""
    kind = RecordKind.RELEASE if text[0] == "-" else RecordKind.HOLD
    return Record(
        id=text if text[0] == "-" else text[1],
        kind=kind,
        name="Mutex/m",
        digest=text[1] if text[0] == "-" else "d",
        seq=seq,
        at_ms=0,
        error=RecordedError(type="x") if text[0] == "!" else None,
    )


@pytest.mark.parametrize(
    ("history", "before", "since"),
    [
        ("", 9, 0),
        ("+a", 9, 1),
        ("+a", 1, 0),
        ("!a", 9, 0),
        ("+a -a", 9, 0),
        ("+a -a", 2, 1),
        ("+a -a +b", 9, 3),
        ("+a +b -a", 9, 1),
        ("+a +b -a -b +c", 9, 5),
        ("+a +b -b", 9, 1),
    ],
)
def test_what_is_held_since_when(history: str, before: int, since: int) -> None:
    """From the first of those that overlap: at no record before was anything held that is not held there any more."""
    records = [record(seq, text) for seq, text in enumerate(history.split(), 1)]
    assert held_since(records, before=before) == since
