"""Internal. The format of a backup: all live objects as of one revision, as lines of JSON.

The first line names format, revision and number of objects; each further one holds an object as it is stored; the last
one holds a checksum of everything before it, so that a file cut short or damaged is noticed. History is not in it: a
restored server answers 410 to watches from before, and their clients list anew. A running server streams what is in
memory (``answer``, for ``documents``); how a data file is made of a backup stands in ``restoring``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from kontinue_engine.apiserver.http.http_protocol import Stream, StreamResponse, chunk
from kontinue_engine.apiserver.objects.object_store import Entry, ObjectStore
from kontinue_engine.errors import EngineError

FORMAT: Final = "kontinue-backup/1"
CONTENT_TYPE: Final = "application/x-ndjson"
CHUNK_BYTES: Final = 256 * 1024
MAX_REVISION: Final = 2**62

Progress = Callable[[int, int], None]
"""Told of how many objects of how many are done."""


class BackupDamagedError(EngineError):
    """The file is no backup, or not a whole one. Nothing was changed; take another copy of it."""


class Header(NamedTuple):
    """What the first line says."""

    revision: int
    objects: int


class Stored(NamedTuple):
    """One object as the storage has it: ``value`` has an empty resourceVersion, where ``rev`` is put in."""

    rev: int
    key: str
    value: bytes


def encode(objects: Sequence[Entry] | Sequence[Stored], *, revision: int, created_at: str) -> Iterator[bytes]:
    """Yield a backup in pieces; of Entries each is converted when its turn comes."""
    digest = hashlib.sha256()
    header = {"format": FORMAT, "revision": revision, "objects": len(objects), "createdAt": created_at}
    lines = [orjson.dumps(header) + b"\n"]
    size_bytes = 0
    for each in objects:
        rev, key, value = each if isinstance(each, Stored) else Stored(each.rev, each.key, each.stored())
        lines.append(b'{"rev":%d,"key":%b,"object":%b}\n' % (rev, orjson.dumps(key), value))
        size_bytes += len(value)
        if size_bytes >= CHUNK_BYTES:
            piece = b"".join(lines)
            digest.update(piece)
            yield piece
            lines.clear()
            size_bytes = 0
    piece = b"".join(lines)
    digest.update(piece)
    yield piece + orjson.dumps({"sha256": digest.hexdigest()}) + b"\n"


def answer(store: ObjectStore, *, created_at: str) -> StreamResponse:
    """Return the answer that carries everything as it is now; it is encoded as fast as the client reads."""
    entries = sorted((entry for _, table in store.tables() for entry in table.entries()), key=lambda entry: entry.rev)
    pieces = encode(entries, revision=store.rev, created_at=created_at)
    return StreamResponse(lambda stream: stream.send_initial(_framed(stream, pieces)), CONTENT_TYPE)


def _framed(stream: Stream, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield chunk(piece)
    stream.end()


def check(path: Path, progress: Progress) -> Header:
    """Read a backup to its end, and return its header if it is whole.

    Raises:
        BackupDamagedError: it is not.
        OSError: it cannot be read.
    """
    if path.is_fifo():
        raise BackupDamagedError(
            f"{path} is a pipe, and it is read twice: save it as a regular file; nothing was changed"
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        first = file.readline()
        header = _parse_header(path, first)
        digest.update(first)
        for number in range(header.objects):
            line = file.readline()
            parse_line(path, line, header)
            digest.update(line)
            progress(number + 1, header.objects)
        last = _parse(path, file.readline())
        if last != {"sha256": digest.hexdigest()} or file.read(1):
            raise _damaged(path, "its checksum does not fit")
    return header


def read(path: Path) -> Iterator[Stored]:
    """Yield the objects of a backup that ``check`` has found whole."""
    with path.open("rb") as file:
        header = _parse_header(path, file.readline())
        for _ in range(header.objects):
            yield parse_line(path, file.readline(), header)


def parse_line(path: Path, line: bytes, header: Header) -> Stored:
    """Read one object.

    Raises:
        BackupDamagedError: the line is none.
    """
    match _parse(path, line):
        case {"rev": int(rev), "key": str(key), "object": {"metadata": {"resourceVersion": "", "uid": str()}}} if (
            0 < rev <= header.revision and key.count("/") == 2
        ):
            start = line.index(b',"object":') + len(b',"object":')
            return Stored(rev, key, line[start : line.rindex(b"}")])
        case _:
            raise _damaged(path, "it holds something that is no object")


def _parse_header(path: Path, line: bytes) -> Header:
    match _parse(path, line):
        case {"format": str(text), "revision": int(revision), "objects": int(objects)} if text == FORMAT:
            if 0 <= revision <= MAX_REVISION and objects >= 0:
                return Header(revision, objects)
            raise _damaged(path, "its revision or number of objects makes no sense")
        case {"format": str(text)}:
            raise BackupDamagedError(f"{path} has the format {text}, this version reads {FORMAT}")
        case _:
            raise _damaged(path, "its first line is not that of a backup")


def _parse(path: Path, line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _damaged(path, f"it is cut short or damaged ({error})") from error


def _damaged(path: Path, problem: str) -> BackupDamagedError:
    return BackupDamagedError(f"{path} is no whole backup: {problem}; nothing was changed, use another copy")
