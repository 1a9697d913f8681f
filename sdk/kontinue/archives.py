"""What an archived Execution looks like: the objects of its tree as lines of JSON, compressed, in parts. Pure.

Written by the engine's leader, read by the client and the command line, both through this module. Everything follows
from the objects alone, the names included: an archive that is written twice collides with itself. Which objects belong
to a tree, and when they are archived, is not decided here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    ArchivedExecution,
    ArchivedExecutionSpec,
    Execution,
    MemoPage,
    Suspension,
)
from kontinue.errors import CodecError
from kontinue.naming import archive_name

MAX_PART_BYTES: Final = 512 * 1024
"""One ArchivedExecution, as JSON."""
MAX_DATA_BYTES: Final = (MAX_PART_BYTES - 32 * 1024) // 4 * 3
"""Compressed data of one part: Base64 makes four bytes of three; the rest is for labels and what is plain text."""
MAX_ARCHIVE_BYTES: Final = 1024 * 1024 * 1024
"""Objects of one tree. Judgement: reading more at once is no use to anybody, and data that only claims to be an archive
must not fill the memory of who reads it."""
LEVEL: Final = 6
"""zlib's default. Judgement: 9 takes three times as long for some percent."""


class ArchiveError(CodecError):
    """An archive is damaged, or a newer version wrote it."""


class MissingPartsError(ArchiveError):
    """Parts of an archive are not there.

    Attributes:
        is_unfinished: the last one is not: as far as anybody can tell, the archive has never been whole.
    """

    def __init__(self, message: str, *, is_unfinished: bool) -> None:
        super().__init__(message)
        self.is_unfinished = is_unfinished


class Archive(msgspec.Struct, frozen=True):
    """What was read from an archive; each Execution carries ``labels.ARCHIVED_IN``.

    Attributes:
        name: of the ArchivedExecution with the first part.
        root: the Execution that was archived.
        executions: it and everything below it.
        suspensions: of all of them.
        pages: MemoPages of all of them.
    """

    name: str
    root: Execution
    executions: Sequence[Execution]
    suspensions: Sequence[Suspension]
    pages: Sequence[MemoPage]


class Packed(msgspec.Struct, frozen=True):
    """A compressed tree.

    Attributes:
        data: compressed.
        size: before that, in bytes.
    """

    data: bytes
    size: int


class _Document(msgspec.Struct, rename="camel", omit_defaults=True):
    """Any of our objects; values stay the bytes that they are, so that no number is rounded."""

    api_version: str
    kind: str
    metadata: dict[str, msgspec.Raw]
    spec: msgspec.Raw
    status: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_document: Final = msgspec.json.Decoder(_Document).decode


class Packer:
    """Compresses objects one after the other: their order and their content decide about every byte."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(LEVEL)
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, document: bytes) -> None:
        """Take an object, as an API server sent it. What it says about who has set which field is left out."""
        found = _decode_document(document)
        metadata = {key: value for key, value in sorted(found.metadata.items()) if key != "managedFields"}
        line = msgspec.json.encode(msgspec.structs.replace(found, metadata=metadata))
        if b"\n" in line:  # between values: within them it is escaped
            line = msgspec.json.encode(msgspec.json.decode(line))
        self._size += len(line) + 1
        self._chunks.append(self._compressor.compress(line + b"\n"))

    def finish(self) -> Packed:
        """Return everything that was added."""
        return Packed(b"".join([*self._chunks, self._compressor.flush()]), self._size)


def build_parts(
    root: Execution, packed: Packed, *, below: Collection[str], group: str, delete_at: datetime | None
) -> list[ArchivedExecution]:
    """Return the parts in the order in which they are created; the last one makes the archive count.

    The second and later ones have no owner yet: that is the first one, whose uid is known once it exists.

    Args:
        root: the Execution that is archived.
        packed: its tree.
        below: resourceVersions of the Executions below it.
        group: worker group that looks after it.
        delete_at: when the archive is to be deleted; None for never.

    Raises:
        ArchiveError: there is too much of it.
    """
    if packed.size > MAX_ARCHIVE_BYTES:
        raise ArchiveError(f"{packed.size:,} bytes of objects are too many for one archive: {MAX_ARCHIVE_BYTES:,}")
    meta, status = root.metadata, root.status
    digest = hashlib.blake2b(packed.data, digest_size=8).hexdigest()
    chunks = [packed.data[at : at + MAX_DATA_BYTES] for at in range(0, len(packed.data), MAX_DATA_BYTES)]
    notes = {} if delete_at is None else {labels.DELETE_AT: delete_at.isoformat()}
    newest = max(int(version) for version in (meta.resource_version, *below))
    whose = f"{meta.uid} {meta.resource_version} {newest} {digest}"
    return [
        ArchivedExecution(
            metadata=ObjectMeta(
                name=archive_name(meta.name, digest, number),
                labels={**meta.labels, labels.WORKER_GROUP: group},
                annotations={
                    labels.ARCHIVE_PART: f"{whose} {number} {len(chunks)} {meta.name}",
                    **notes,
                },
            ),
            spec=ArchivedExecutionSpec(
                execution=meta.name,
                uid=meta.uid,
                version=meta.resource_version,
                function=root.spec.function,
                phase=root.phase,
                worker_group=group,
                created_at=meta.creation_timestamp,
                started_at=status.started_at,
                finished_at=status.finished_at,
                executions=len(below) + 1,
                bytes=packed.size,
                part=number,
                parts=len(chunks),
                data=base64.b64encode(chunk).decode(),
            ),
        )
        for number, chunk in enumerate(chunks, start=1)
    ]


class PartKey(msgspec.Struct, frozen=True):
    """What the metadata of an ArchivedExecution tells: which archive it is part of.

    Attributes:
        uid: of the root Execution.
        version: its resourceVersion when it was archived.
        newest: the highest resourceVersion of the Executions in it: of two archives the one with more is later.
        digest: of the compressed data: what all parts of an archive have in common.
        part: which one.
        parts: of how many.
        execution: name of the root Execution.
    """

    uid: str
    version: int
    newest: int
    digest: str
    part: int
    parts: int
    execution: str


def part_key(meta: ObjectMeta) -> PartKey | None:
    """Return what the annotation says; None if it says nothing: somebody else made the object, or edited it."""
    words = meta.annotations.get(labels.ARCHIVE_PART, "").split(" ")
    if len(words) != 7:
        return None
    version, newest, part, parts = (labels.number_in(words[index]) for index in (1, 2, 4, 5))
    if version is None or newest is None or part is None or parts is None or not 1 <= part <= parts:
        return None
    return PartKey(words[0], version, newest, words[3], part, parts, words[6])


def unpack(parts: Iterable[ArchivedExecution]) -> Archive:
    """Return the tree in the parts of one archive, which may come in any order.

    Raises:
        MissingPartsError: not all are there.
        ArchiveError: they do not hold a tree.
    """
    ordered = sorted(parts, key=lambda one: one.spec.part)
    if not ordered:
        raise ArchiveError("an archive without a part")
    _require_whole(ordered)
    first = ordered[0]
    try:
        data = b"".join(base64.b64decode(one.spec.data, validate=True) for one in ordered)
        return _read(first, _decompress(data))
    except (binascii.Error, zlib.error, msgspec.MsgspecError, ValueError) as error:
        name = first.metadata.name
        raise ArchiveError(
            f"archive {name} of {first.spec.execution} cannot be read: {error}. Somebody has edited it, or a newer "
            f"kontinue wrote it: restore it from a backup, or delete ArchivedExecution {name}"
        ) from error


def _require_whole(ordered: Sequence[ArchivedExecution]) -> None:
    first = ordered[0]
    total = first.spec.parts
    missing = sorted(set(range(1, total + 1)) - {one.spec.part for one in ordered})
    if not missing:
        return
    is_unfinished = total in missing  # the last one is written last
    numbers = f"part {missing[0]}" if len(missing) == 1 else f"parts {', '.join(map(str, missing))}"
    remedy = (
        "it is being written, or was given up, or somebody has deleted from it"
        if is_unfinished
        else f"restore what somebody has deleted from a backup, or delete ArchivedExecution {first.metadata.name}"
    )
    raise MissingPartsError(
        f"{numbers} of {total} of the archive of {first.spec.execution} "
        f"{'is' if len(missing) == 1 else 'are'} missing: {remedy}",
        is_unfinished=is_unfinished,
    )


class _Any(msgspec.Struct, frozen=True):
    kind: str


_kind: Final = msgspec.json.Decoder(_Any).decode
_execution: Final = msgspec.json.Decoder(Execution).decode
_suspension: Final = msgspec.json.Decoder(Suspension).decode
_page: Final = msgspec.json.Decoder(MemoPage).decode


def _decompress(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, MAX_ARCHIVE_BYTES)
    if not decompressor.eof:
        raise ValueError(f"it is cut short, or holds more than {MAX_ARCHIVE_BYTES:,} bytes")
    return text


def _read(first: ArchivedExecution, text: bytes) -> Archive:
    executions: list[Execution] = []
    suspensions: list[Suspension] = []
    pages: list[MemoPage] = []
    for line in text.splitlines():
        kind = _kind(line).kind
        if kind == "Execution":
            executions.append(_marked(_execution(line), first.metadata.name))
        elif kind == "Suspension":
            suspensions.append(_suspension(line))
        elif kind == "MemoPage":
            pages.append(_page(line))
    root = next((one for one in executions if one.metadata.uid == first.spec.uid), None)
    if root is None:
        raise ValueError("its root is not in it")
    return Archive(first.metadata.name, root, executions, suspensions, pages)


def _marked(execution: Execution, name: str) -> Execution:
    meta = execution.metadata
    annotations = {**meta.annotations, labels.ARCHIVED_IN: name}
    return msgspec.structs.replace(execution, metadata=msgspec.structs.replace(meta, annotations=annotations))


def delete_time(meta: ObjectMeta) -> datetime | None:
    """Return when an archive is to be deleted; None for never, and for what is no time: anybody may have written it."""
    try:
        when = datetime.fromisoformat(meta.annotations.get(labels.DELETE_AT, ""))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None


def unclear_delete_time(meta: ObjectMeta) -> str | None:
    """Return what stands there instead of a time; None if nothing does, or one."""
    return meta.annotations.get(labels.DELETE_AT) if delete_time(meta) is None else None
