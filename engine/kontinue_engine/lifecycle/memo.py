"""Internal. The memo as the supervisor keeps it: encoded records that it never reads, and running timers.

``controllers`` holds one ``MemoBytes`` per live Execution; ``decide`` appends to it; ``encode`` gives the JSON of
``status.state`` (see ``kontinue.replay.records.Memo`` for its meaning). Records are joined, not re-encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kontinue.api.v1alpha1 import MAX_MEMO_BYTES
from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.wire.frames import EncodedRecord


class MemoBytes(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable memo.

    Attributes:
        build: digest of the code that wrote it last.
        records: JSON of each record, in ``seq`` order.
        timers: step id -> wake time (ms since the epoch) of timers that have no record yet.
        arguments: JSON of the effective arguments, or empty where they are those of the spec.
        size_bytes: sum of the records' sizes.
    """

    build: str = ""
    records: tuple[bytes, ...] = ()
    timers: Mapping[str, int] = {}
    arguments: bytes = b""
    size_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.records or self.timers or self.arguments)

    def extended(
        self,
        *,
        build: str,
        records: Sequence[EncodedRecord] = (),
        started: Mapping[str, int] = {},
        forgotten: Iterable[str] = (),
        arguments: bytes = b"",
    ) -> MemoBytes:
        """Return the memo with ``records`` appended; timers that they or ``forgotten`` name are gone."""
        timers = self.timers
        if started or (timers and (records or forgotten)):
            timers = {**timers, **started}
            for step in (*(record.step for record in records), *forgotten):
                timers.pop(step, None)
        return MemoBytes(
            build=build,
            records=(*self.records, *(record.json for record in records)),
            timers=timers,
            arguments=self.arguments or arguments,
            size_bytes=self.size_bytes + sum(len(record.json) + 1 for record in records),
        )

    def encode(self) -> msgspec.Raw:
        """Return the JSON of ``status.state``."""
        parts = [b'{"build":', msgspec.json.encode(self.build), b',"records":[', b",".join(self.records), b"]"]
        if self.timers:
            parts += [b',"timers":', msgspec.json.encode(self.timers)]
        if self.arguments:
            parts += [b',"arguments":', self.arguments]
        return msgspec.Raw(b"".join((*parts, b"}")))


def too_large_message(size_bytes: int) -> str:
    """Return what a memo of that size fails with: runners notice it first, ``decide`` makes sure."""
    return (
        f"the memo would be {size_bytes:,} bytes, the limit is {MAX_MEMO_BYTES:,}: return less from steps and "
        "children (for example a reference to an object store), or split the function into children"
    )


class _StoredMemo(msgspec.Struct):
    build: str = ""
    records: list[msgspec.Raw] = []
    timers: dict[str, int] = {}
    arguments: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_StoredMemo).decode


def parse_memo(state: msgspec.Raw | msgspec.UnsetType) -> MemoBytes:
    """Return the memo in ``status.state``.

    Raises:
        MemoUnreadableError: it is not a memo.
    """
    if state is msgspec.UNSET:
        return MemoBytes()
    try:
        stored = _decode(state)
    except msgspec.DecodeError as error:
        raise MemoUnreadableError(f"status.state is not a memo: {error}") from error
    records = tuple(bytes(record) for record in stored.records)
    return MemoBytes(
        build=stored.build,
        records=records,
        timers=stored.timers,
        arguments=bytes(stored.arguments),
        size_bytes=sum(len(record) + 1 for record in records),
    )
