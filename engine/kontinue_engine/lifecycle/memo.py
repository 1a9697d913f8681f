"""Internal. The memo as the supervisor keeps it: encoded records that it never decodes, and running timers.

``controllers`` holds one ``MemoBytes`` per live Execution; ``decide`` appends to it, and cuts it for a new attempt;
``encode`` gives the JSON of ``status.state`` (see ``kontinue.replay.records.Memo`` for its meaning). Records are
joined, not re-encoded; of those that a cut makes a cache the step id is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

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
        cache: step id -> JSON of the outcome that an earlier attempt was told, from where the memo was cut.
        cuts: (seq, generation) of each cut that still counts, both rising.
        blamed: seqs to blame for the end of an attempt after which there was none.
        size_bytes: sum of the sizes of all records, cached ones included.
    """

    build: str = ""
    records: tuple[bytes, ...] = ()
    timers: Mapping[str, int] = {}
    arguments: bytes = b""
    cache: Mapping[str, bytes] = {}
    cuts: tuple[tuple[int, int], ...] = ()
    blamed: tuple[int, ...] = ()
    size_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.records or self.timers or self.arguments or self.cache or self.cuts)

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
        cache = self.cache
        if cache and records:
            replaced = {record.step for record in records}
            cache = {step: json for step, json in cache.items() if step not in replaced}
        return msgspec.structs.replace(
            self,
            build=build,
            records=(*self.records, *(record.json for record in records)),
            timers=timers,
            arguments=self.arguments or arguments,
            cache=cache,
            size_bytes=self.size_bytes
            + _size(record.json for record in records)
            - _size(json for step, json in self.cache.items() if step not in cache),
        )

    def cut(self, blamed: Collection[int]) -> MemoBytes:
        """Return what a new attempt begins with: the records before the first one that is to blame.

        Later ones become a cache, those to blame aside. With nobody to blame all records stay. Timers that have not
        fired start anew.
        """
        if not blamed:
            return msgspec.structs.replace(self, timers={}, blamed=())
        first = min(blamed)
        cache = dict(self.cache)
        for seq, record in enumerate(self.records[first - 1 :], first):
            step = _read_step(record).id
            cache.pop(step, None)
            if seq not in blamed:
                cache[step] = record
        generation = (self.cuts[-1][1] if self.cuts else 0) + 1
        kept = self.records[: first - 1]
        return msgspec.structs.replace(
            self,
            records=kept,
            timers={},
            cache=cache,
            cuts=(*(cut for cut in self.cuts if cut[0] < first), (first, generation)),
            blamed=(),
            size_bytes=_size(kept) + _size(cache.values()),
        )

    def emptied(self) -> MemoBytes:
        """Return what an attempt begins with that runs everything anew: the arguments alone."""
        return MemoBytes(build=self.build, arguments=self.arguments)

    def without_cache(self) -> MemoBytes:
        """Return the memo of one that has completed: no attempt will ask for more."""
        return msgspec.structs.replace(self, cache={}, size_bytes=_size(self.records)) if self.cache else self

    def blaming(self, blamed: Sequence[int]) -> MemoBytes:
        """Return the memo of the last attempt: if somebody asks for another one, it says where to cut."""
        return msgspec.structs.replace(self, blamed=tuple(blamed))

    def encode(self) -> msgspec.Raw:
        """Return the JSON of ``status.state``."""
        parts = [b'{"build":', msgspec.json.encode(self.build), b',"records":[', b",".join(self.records), b"]"]
        if self.timers:
            parts += [b',"timers":', msgspec.json.encode(self.timers)]
        if self.arguments:
            parts += [b',"arguments":', self.arguments]
        if self.cache:
            parts += [b',"cache":[', b",".join(self.cache.values()), b"]"]
        if self.cuts:
            parts += [b',"cuts":', msgspec.json.encode(self.cuts)]
        if self.blamed:
            parts += [b',"blamed":', msgspec.json.encode(self.blamed)]
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
    cache: list[msgspec.Raw] = []
    cuts: list[tuple[int, int]] = []
    blamed: list[int] = []


class _Step(msgspec.Struct):
    """Of a record."""

    id: str


_decode = msgspec.json.Decoder(_StoredMemo).decode
_read_step = msgspec.json.Decoder(_Step).decode


def parse_memo(state: msgspec.Raw | msgspec.UnsetType) -> MemoBytes:
    """Return the memo in ``status.state``.

    Raises:
        MemoUnreadableError: it is not a memo.
    """
    if state is msgspec.UNSET:
        return MemoBytes()
    try:
        stored = _decode(state)
        cache = {_read_step(record).id: bytes(record) for record in stored.cache}
    except msgspec.DecodeError as error:
        raise MemoUnreadableError(f"status.state is not a memo: {error}") from error
    records = tuple(bytes(record) for record in stored.records)
    return MemoBytes(
        build=stored.build,
        records=records,
        timers=stored.timers,
        arguments=bytes(stored.arguments),
        cache=cache,
        cuts=tuple(stored.cuts),
        blamed=tuple(stored.blamed),
        size_bytes=_size(records) + _size(cache.values()),
    )


def _size(records: Iterable[bytes]) -> int:
    return sum(len(record) + 1 for record in records)
