"""Watch streams without I/O: bytes to lines, lines to typed events.

Fed by ``kontinue.kube.http.KubeTransport.stream`` (``LineSplitter``) and by whoever consumes a watch
(``EventDecoder``): the engine's informer and the client's waits. Next comes their handler.
A line is decoded in two steps, envelope first, because bookmarks and errors carry other objects than the rest.
"""

from __future__ import annotations

from typing import Final, Generic, Literal, TypeVar

import msgspec

from kontinue import errors
from kontinue.api.meta import ApiStruct
from kontinue.kube import errors as kube_errors

T = TypeVar("T")

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Above etcd's 1.5 MiB per object with room for JSON escapes: a longer line is a broken stream."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class LineSplitter:
    """Cuts a byte stream into lines, however the bytes are split.

    Feed it every chunk and handle the returned lines before the next one; empty lines are left out.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines completed by ``data``, without their line ends.

        Raises:
            Unavailable: a line grew past the limit; the stream must be closed.
        """
        *complete, rest = data.split(b"\n")
        lines: list[bytes] = []
        if complete:
            first = b"".join((*self._parts, complete[0]))
            self._parts.clear()
            self._size = 0
            lines = [line for line in (first, *complete[1:]) if line]
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._max or any(len(line) > self._max for line in lines):
            raise errors.Unavailable(f"a line of the watch is longer than {self._max} bytes")
        return lines


class Changed(msgspec.Struct, Generic[T], frozen=True):
    """An object appeared in, changed in or left the watched selection.

    DELETED of a selector watch means that it left the selection; the object may live on.
    """

    type: EventType
    object: T


class Bookmark(msgspec.Struct, frozen=True):
    """Everything up to this resourceVersion has been sent."""

    resource_version: str


class Undecodable(msgspec.Struct, frozen=True):
    """An object that does not fit its type, which a looser schema let in. The watch itself is fine."""

    type: EventType
    resource_version: str
    name: str
    problem: str


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Metadata(ApiStruct, frozen=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class MetadataOnly(ApiStruct, frozen=True):
    """Any object, of which only name and version are read."""

    metadata: _Metadata = _Metadata()


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_metadata: Final = msgspec.json.Decoder(MetadataOnly).decode
_decode_status: Final = msgspec.json.Decoder(kube_errors.Status).decode


class EventDecoder(Generic[T]):
    """Turns watch lines into events whose objects have the type ``type_``."""

    def __init__(self, type_: type[T]) -> None:
        self._decode_object = msgspec.json.Decoder(type_).decode

    def decode(self, line: bytes) -> Changed[T] | Bookmark | Undecodable:
        """Decode one line.

        Raises:
            Gone: the watch started too far back; list again.
            ApiError: the server ended the watch with another error.
            Unavailable: the line is no watch event at all (a cut stream, a proxy's page).
        """
        try:
            envelope = _decode_envelope(line)
            match envelope.type:
                case "ADDED" | "MODIFIED" | "DELETED" as event_type:
                    return self._changed(event_type, envelope.object)
                case "BOOKMARK":
                    return Bookmark(_decode_metadata(envelope.object).metadata.resource_version)
                case "ERROR":
                    raise kube_errors.from_status(_decode_status(envelope.object))
                case other:
                    raise errors.Unavailable(f"the watch sent an event of unknown type {other!r}")
        except msgspec.MsgspecError as error:
            raise errors.Unavailable(f"the watch sent a line that is no event: {error}") from error

    def _changed(self, event_type: EventType, raw: msgspec.Raw) -> Changed[T] | Undecodable:
        try:
            return Changed(event_type, self._decode_object(raw))
        except msgspec.MsgspecError as error:
            metadata = _decode_metadata(raw).metadata
            name = f"{metadata.namespace}/{metadata.name}"
            return Undecodable(event_type, metadata.resource_version, name, str(error))
