"""What an Execution holds, by its records: where a new attempt has to begin so that it holds what it believes to hold.

Pure. A hold is a record of its own, and so is its release, which names the hold's step by its digest. Whatever ends an
attempt may end what it held; so a new one begins before the first of the holds that were not released, and asks for
them again. Called by ``kontinue.replay.journal``.
"""

from __future__ import annotations

from collections.abc import Iterable

from kontinue.replay.records import Record, RecordKind

HOLD_KINDS = frozenset({RecordKind.HOLD, RecordKind.RELEASE})
"""Never answered from an earlier attempt's outcomes: what was held then may be somebody else's now."""


def held_since(records: Iterable[Record], *, before: int) -> int:
    """Return the seq since which something was held all the time when the record ``before`` came; 0: nothing was.

    Args:
        records: those of holds and releases, in order.
        before: a seq.
    """
    held: set[str] = set()
    since = 0
    for record in records:
        if record.seq >= before:
            break
        if record.kind is RecordKind.RELEASE:
            held.discard(record.digest)
        elif record.error is None:
            since = since if held else record.seq
            held.add(record.id)
    return since if held else 0
