"""Internal. The memo as the supervisor keeps it: encoded records that it never decodes, and running timers.

``controllers`` holds one ``MemoBytes`` per live Execution; ``decide`` appends to it, and cuts it for a new attempt;
``encode`` gives the JSON of ``status.state`` (see ``kontinue.replay.records.Memo`` for its meaning). Records are
joined, not re-encoded; of those that a cut makes a cache the step id is read.

What gets too long for a status is closed: a ``Page``, to be created before the status that no longer has its records.
Pages are never rewritten and not kept here. A cut that reaches into them is only noted; ``with_pages`` carries it out.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import MAX_PAGE_BYTES, MAX_STATE_BYTES, MemoPagesStatus
from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.wire.frames import EncodedRecord

OPEN_BYTES: Final = 16 * 1024
"""Records in ``status.state`` before a page is closed. Judgement: each step writes half of it again on average, so less
means cheaper steps and more pages. At 64 KiB kube-apiserver would take some 15 ms for each."""
OPEN_RECORDS: Final = 32
"""The same for small records."""
MAX_BEGUN: Final = 100
"""Steps at a time of which is written that something of theirs is there: each write has them. Judgement."""


class Page(msgspec.Struct, frozen=True):
    """A MemoPage to create. ``memo`` is JSON as of ``status.state``; ``previous`` the digest of the page before."""

    number: int
    digest: str
    previous: str
    memo: bytes


class MemoBytes(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable memo, its pages aside.

    Attributes:
        build: digest of the code that wrote it last.
        refused_by: digest of the code that has not matched it since, or empty.
        records: JSON of each record behind the pages, in ``seq`` order.
        timers: step id -> wake time (ms since the epoch) of timers that have no record yet.
        begun: step id -> which child, Job or Pod (``mark_of``) is known to have been there, of steps that have no
            record yet, the first ``MAX_BEGUN`` of them: what is missing afterwards was deleted.
        arguments: JSON of the effective arguments, or empty where they are those of the spec.
        cache: step id -> JSON of the outcome that an earlier attempt was told, from where the memo was cut.
        cuts: (seq, generation) of each cut that still counts, both rising.
        blamed: seqs to blame for the end of an attempt after which there was none.
        pages: the pages before ``records``, or None.
        page_cut: records to blame in pages, by seq: what the pages hold is cut there.
        forgotten: step ids whose cached outcomes in pages do not count any more.
        closing: the last of ``pages``, which have to be created before this is written; not stored.
        since_ms: when this run began; 0 for the first.
        held: steps that hold something of ``konductor.io`` behind the last record.
        held_since: seq of the record since which something was held all the time; 0: nothing is.
        size_bytes: sum of the sizes of ``records`` and ``cache``.
    """

    build: str = ""
    refused_by: str = ""
    records: tuple[bytes, ...] = ()
    timers: Mapping[str, int] = {}
    begun: Mapping[str, str] = {}
    arguments: bytes = b""
    cache: Mapping[str, bytes] = {}
    cuts: tuple[tuple[int, int], ...] = ()
    blamed: tuple[int, ...] = ()
    pages: MemoPagesStatus | None = None
    page_cut: tuple[int, ...] = ()
    forgotten: tuple[str, ...] = ()
    closing: tuple[Page, ...] = ()
    since_ms: int = 0
    held: tuple[str, ...] = ()
    held_since: int = 0
    size_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        parts = (self.records, self.timers, self.begun, self.arguments, self.cache, self.cuts, self.pages)
        return not any(parts)

    @property
    def paged(self) -> int:
        """Number of records in pages that still count."""
        if self.page_cut:
            return min(self.page_cut) - 1
        return self.pages.records if self.pages else 0

    def extended(
        self,
        *,
        build: str,
        records: Sequence[EncodedRecord] = (),
        started: Mapping[str, int] = {},
        forgotten: Collection[str] = (),
        begun: Mapping[str, str] = {},
        arguments: bytes = b"",
        is_last: bool = False,
    ) -> MemoBytes:
        """Return the memo with ``records`` appended; timers that they or ``forgotten`` name are gone.

        So is what ``begun`` says of steps that they name, and what is held by steps that ``forgotten`` names. Pages are
        closed if it gets too long, after the last records of an attempt only if they must be.
        """
        timers = self.timers
        if started or (timers and (records or forgotten)):
            timers = {**timers, **started}
            for step in (*(record.step for record in records), *forgotten):
                timers.pop(step, None)
        if begun or (self.begun and records):
            begun = {**self.begun, **begun}
            for record in records:
                begun.pop(record.step, None)
            begun = dict(itertools.islice(begun.items(), MAX_BEGUN))
        cache = self.cache
        if cache and records:
            replaced = {record.step for record in records}
            cache = {step: json for step, json in cache.items() if step not in replaced}
        held, held_since = self._held_after(records, forgotten)
        memo = msgspec.structs.replace(
            self,
            held=held,
            held_since=held_since,
            build=build,
            refused_by="",
            records=(*self.records, *(record.json for record in records)),
            timers=timers,
            begun=begun or self.begun,
            arguments=self.arguments or arguments,
            cache=cache,
            size_bytes=self.size_bytes
            + _size(record.json for record in records)
            - _size(json for step, json in self.cache.items() if step not in cache),
        )
        return memo._closed(is_last=is_last)

    def _held_after(self, records: Sequence[EncodedRecord], given_up: Collection[str]) -> tuple[tuple[str, ...], int]:
        """Return what is held, and since when, with ``records`` appended; as ``kontinue.replay.holds`` does.

        What was given up without a release may have been held first: then the rest seems to be held for longer.
        """
        held, since = self.held, self.held_since
        for seq, record in enumerate(records, self.paged + len(self.records) + 1):
            if record.holds:
                held, since = (*held, record.step), since or seq
            elif record.frees:
                held = tuple(step for step in held if step != record.frees)
                since = since if held else 0
        held = tuple(step for step in held if step not in given_up)
        return held, since if held else 0

    def _closed(self, *, is_last: bool) -> MemoBytes:
        """Return the memo with everything in pages, if it is too long for a status."""
        limit = MAX_STATE_BYTES if is_last else OPEN_BYTES
        if self.size_bytes <= limit and (is_last or len(self.records) < OPEN_RECORDS):
            return self
        pages, closing, records = self.pages, list(self.closing), self.paged
        for part in self._split():
            number, previous = (pages.count + 1, pages.last) if pages else (1, "")
            json = bytes(part.encode())
            digest = hashlib.blake2b(f"{number} {previous} ".encode() + json, digest_size=10).hexdigest()
            closing.append(Page(number, digest, previous, json))
            records += len(part.records)
            size_bytes = (pages.bytes if pages else 0) + len(json)
            pages = MemoPagesStatus(count=number, last=digest, records=records, bytes=size_bytes)
        return msgspec.structs.replace(
            self,
            records=(),
            cache={},
            pages=pages,
            page_cut=(),
            forgotten=(),
            closing=tuple(closing),
            size_bytes=0,
        )

    def _split(self) -> list[MemoBytes]:
        """Return what stands here in parts that fit into a page each; a larger record is alone in one."""
        parts: list[tuple[dict[str, bytes], list[bytes]]] = [({}, [])]
        room = MAX_PAGE_BYTES
        for step, json in (*self.cache.items(), *(("", json) for json in self.records)):
            if len(json) >= room and room < MAX_PAGE_BYTES:
                parts.append(({}, []))
                room = MAX_PAGE_BYTES
            room -= len(json) + 1
            cache, records = parts[-1]
            if step:
                cache[step] = json
            else:
                records.append(json)
        memos = [MemoBytes(build=self.build, cache=cache, records=tuple(records)) for cache, records in parts]
        memos[0] = msgspec.structs.replace(memos[0], page_cut=self.page_cut, forgotten=self.forgotten)
        return memos

    def written(self) -> MemoBytes:
        """Return the memo after it was written: its pages exist."""
        return msgspec.structs.replace(self, closing=()) if self.closing else self

    def cut(self, blamed: Collection[int]) -> MemoBytes:
        """Return what a new attempt begins with: the records before the first one that is to blame.

        Later ones become a cache, those to blame aside. With nobody to blame all records stay, but for those since when
        something is held: its end may have ended that. Timers that have not fired start anew, and so does what was
        deleted.
        """
        blamed = {*blamed, self.held_since} if self.held_since else blamed
        if not blamed:
            return msgspec.structs.replace(self, timers={}, begun={}, blamed=())
        first, paged = min(blamed), self.paged
        cache, forgotten = dict(self.cache), dict.fromkeys(self.forgotten)
        start = max(first, paged + 1)
        for seq, record in enumerate(self.records[start - paged - 1 :], start):
            step = _read_step(record).id
            cache.pop(step, None)
            if seq not in blamed:
                cache[step] = record
            elif self.pages:
                forgotten[step] = None
        generation = (self.cuts[-1][1] if self.cuts else 0) + 1
        kept = self.records[: start - paged - 1]
        return msgspec.structs.replace(
            self,
            records=kept,
            timers={},
            begun={},
            cache=cache,
            cuts=(*(cut for cut in self.cuts if cut[0] < first), (first, generation)),
            blamed=(),
            page_cut=tuple(sorted({*self.page_cut, *(seq for seq in blamed if seq <= paged)})),
            forgotten=tuple(forgotten),
            held=(),
            held_since=0,
            size_bytes=_size(kept) + _size(cache.values()),
        )

    def emptied(self) -> MemoBytes:
        """Return what an attempt begins with that runs everything anew: the arguments alone."""
        return MemoBytes(build=self.build, arguments=self.arguments, since_ms=self.since_ms)

    def without_cache(self) -> MemoBytes:
        """Return the memo of one that has completed: no attempt will ask for more."""
        if not (self.cache or self.begun):
            return self
        return msgspec.structs.replace(self, cache={}, begun={}, size_bytes=_size(self.records))

    def blaming(self, blamed: Sequence[int]) -> MemoBytes:
        """Return the memo of the last attempt: if somebody asks for another one, it says where to cut."""
        return msgspec.structs.replace(self, blamed=tuple(blamed))

    def refused(self, *, by: str) -> MemoBytes:
        """Return the memo of one that code of the build ``by`` does not match."""
        return msgspec.structs.replace(self, refused_by=by)

    def with_pages(self, pages: Sequence[MemoBytes]) -> MemoBytes:
        """Return the whole memo, as if it had never been closed; ``pages`` are all of them, in order."""
        records: list[bytes] = []
        cache: dict[str, bytes] = {}
        for part in (*pages, self):
            _cut_in_place(records, cache, part.page_cut)
            for step in part.forgotten:
                cache.pop(step, None)
            cache.update(part.cache)
            if cache:
                for record in part.records:
                    cache.pop(_read_step(record).id, None)
            records += part.records
        return msgspec.structs.replace(
            self,
            records=tuple(records),
            cache=cache,
            pages=None,
            page_cut=(),
            forgotten=(),
            size_bytes=_size(records) + _size(cache.values()),
        )

    def encode(self) -> msgspec.Raw:
        """Return the JSON of ``status.state``, or of a page."""
        parts = [b'{"build":', msgspec.json.encode(self.build), b',"records":[', b",".join(self.records), b"]"]
        if self.refused_by:
            parts += [b',"refusedBy":', msgspec.json.encode(self.refused_by)]
        if self.timers:
            parts += [b',"timers":', msgspec.json.encode(self.timers)]
        if self.begun:
            parts += [b',"begun":', msgspec.json.encode(self.begun)]
        if self.arguments:
            parts += [b',"arguments":', self.arguments]
        if self.cache:
            parts += [b',"cache":[', b",".join(self.cache.values()), b"]"]
        if self.cuts:
            parts += [b',"cuts":', msgspec.json.encode(self.cuts)]
        if self.blamed:
            parts += [b',"blamed":', msgspec.json.encode(self.blamed)]
        if self.page_cut:
            parts += [b',"pageCut":', msgspec.json.encode(self.page_cut)]
        if self.forgotten:
            parts += [b',"forgotten":', msgspec.json.encode(self.forgotten)]
        if self.held_since:
            parts += [
                b',"held":',
                msgspec.json.encode(self.held),
                b',"heldSince":',
                msgspec.json.encode(self.held_since),
            ]
        if self.since_ms:
            parts += [b',"sinceMs":', msgspec.json.encode(self.since_ms)]
        return msgspec.Raw(b"".join((*parts, b"}")))


class _StoredMemo(msgspec.Struct, frozen=True):
    """``status.state`` without a look into its records."""

    build: str = ""
    refused_by: str = msgspec.field(name="refusedBy", default="")
    records: list[msgspec.Raw] = []
    timers: dict[str, int] = {}
    begun: dict[str, str] = {}
    arguments: msgspec.Raw = msgspec.Raw(b"")
    cache: list[msgspec.Raw] = []
    cuts: list[tuple[int, int]] = []
    blamed: list[int] = []
    page_cut: list[int] = msgspec.field(name="pageCut", default_factory=list)
    forgotten: list[str] = []
    since_ms: int = msgspec.field(name="sinceMs", default=0)
    held: list[str] = []
    held_since: int = msgspec.field(name="heldSince", default=0)


class _Step(msgspec.Struct):
    """Of a record."""

    id: str


_decode = msgspec.json.Decoder(_StoredMemo).decode
_read_step = msgspec.json.Decoder(_Step).decode


def parse_memo(state: msgspec.Raw | msgspec.UnsetType, pages: MemoPagesStatus | None = None) -> MemoBytes:
    """Return the memo in ``status.state``, behind ``status.memoPages``; or in a page.

    Raises:
        MemoUnreadableError: it is not a memo.
    """
    if state is msgspec.UNSET:
        return MemoBytes(pages=pages)
    try:
        stored = _decode(state)
        cache = {_read_step(record).id: bytes(record) for record in stored.cache}
    except msgspec.DecodeError as error:
        raise MemoUnreadableError(f"status.state is not a memo: {error}") from error
    records = tuple(bytes(record) for record in stored.records)
    return MemoBytes(
        build=stored.build,
        refused_by=stored.refused_by,
        records=records,
        timers=stored.timers,
        begun=stored.begun,
        arguments=bytes(stored.arguments),
        cache=cache,
        cuts=tuple(stored.cuts),
        blamed=tuple(stored.blamed),
        pages=pages,
        page_cut=tuple(stored.page_cut),
        forgotten=tuple(stored.forgotten),
        since_ms=stored.since_ms,
        held=tuple(stored.held),
        held_since=stored.held_since,
        size_bytes=_size(records) + _size(cache.values()),
    )


def _cut_in_place(records: list[bytes], cache: dict[str, bytes], blamed: Collection[int]) -> None:
    if not blamed:
        return
    first = min(blamed)
    for seq, record in enumerate(records[first - 1 :], first):
        step = _read_step(record).id
        cache.pop(step, None)
        if seq not in blamed:
            cache[step] = record
    del records[first - 1 :]


def mark_of(kind: str, name: str) -> str:
    """Return what ``MemoBytes.begun`` says of an object: its name is known to whoever asks."""
    return hashlib.blake2b(f"{kind} {name}".encode(), digest_size=4).hexdigest()


def _size(records: Iterable[bytes]) -> int:
    return sum(len(record) + 1 for record in records)
