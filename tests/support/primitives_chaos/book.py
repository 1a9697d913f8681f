"""The ledger of the primitives: what clients did, one line each, in a file to which all of them append.

No part of the world that faults strike: a line is one write of a process that knows nothing of the others, and the
file's order is that of the kernel. Who enters writes after he was let in, who leaves before he says so; so the ledger
may see too few at a time, never too many.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Event(enum.StrEnum):
    """What a line says."""

    MEANS_TO = "means to"
    """It is about to be done or to arrive; ``id`` tells which of it."""
    ENTERED = "entered"
    LEFT = "left"
    LOST = "lost"
    """Its holder was told that it has ended by itself."""
    OPENED = "opened"
    """A wait has ended."""
    DIED = "died"
    """Written for a process, after its end."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line.

    Attributes:
        event: what happened.
        subject: kind and name of the object.
        who: name of the client.
        pid: of its process.
        id: of one holding, or of one operation.
        token: fencing token; 0: it has none.
        is_shared: a reader.
        at_s: when, by the clock that all processes of a machine share.
    """

    event: Event
    subject: str = ""
    who: str = ""
    pid: int = 0
    id: str = ""
    token: int = 0
    is_shared: bool = False
    at_s: float = 0.0


class Book:
    """One process's end of the ledger.

    Args:
        path: of the file.
        who: name of the client.
    """

    def __init__(self, path: Path, who: str = "") -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._who = who

    def write(
        self,
        event: Event,
        subject: str = "",
        *,
        id: str = "",  # noqa: A002 - as the primitives call it
        token: int = 0,
        is_shared: bool = False,
        pid: int = 0,
    ) -> None:
        """Append one line; it is there, or it is not."""
        line = Line(
            event=event,
            subject=subject,
            who=self._who,
            pid=pid or os.getpid(),
            id=id,
            token=token,
            is_shared=is_shared,
            at_s=time.monotonic(),
        )
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_book(path: Path) -> Sequence[Line]:
    """Return all lines so far."""
    return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]
