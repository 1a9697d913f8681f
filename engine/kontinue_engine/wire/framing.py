"""Internal. Frames to bytes and back: a 4-byte big-endian length, then msgpack of one tagged frame. Sans-io.

Not here: which frame is legal when (``wire.session``), and any reading or writing of file descriptors
(``runner.channel``, ``pool.runner_process``). The side that reads names the union of frames that it expects, so a frame
sent in the wrong direction is a ``ProtocolError`` like any other garbage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue_engine.errors import FrameTooLargeError, ProtocolError
from kontinue_engine.wire.frames import Frame

FrameT = TypeVar("FrameT", bound=Frame)

PREFIX_BYTES: Final = 4

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Largest frame. Arguments, result and history have limits that together are about half of it; anything larger is a bug
or a broken peer and must not fill memory."""

_encoder: Final = msgspec.msgpack.Encoder()


def encode(frame: Frame, *, max_bytes: int = MAX_FRAME_BYTES) -> bytearray:
    """Return the frame with its length prefix.

    Raises:
        FrameTooLargeError: it is larger than ``max_bytes``; nothing must be sent.
    """
    buffer = bytearray(512)
    _encoder.encode_into(frame, buffer, PREFIX_BYTES)
    size = len(buffer) - PREFIX_BYTES
    if size > max_bytes:
        raise FrameTooLargeError(frame=type(frame).__name__, size_bytes=size, limit_bytes=max_bytes)
    buffer[:PREFIX_BYTES] = size.to_bytes(PREFIX_BYTES, "big")
    return buffer


class FrameDecoder(Generic[FrameT]):
    """Bytes of one stream in, frames out, however the bytes are split."""

    def __init__(self, frame_types: Any, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        """Decode frames of ``frame_types``: a union from ``wire.frames``, or one frame class."""
        self._decode = msgspec.msgpack.Decoder(frame_types).decode
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._needed_bytes = PREFIX_BYTES

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that is not complete yet; not 0 at the end of a stream means that it was cut."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[FrameT]:
        """Take bytes and return the frames that they complete. Exhaust the iterator before feeding more.

        Raises:
            ProtocolError: while iterating, after the good frames before the bad one: give the peer up.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed_bytes:
                return iter(())
            data = bytes(self._buffer)
            self._buffer.clear()
        return self._frames(data)

    def _frames(self, data: bytes) -> Iterator[FrameT]:
        start = 0
        while True:
            body = start + PREFIX_BYTES
            if body > len(data):
                self._needed_bytes = PREFIX_BYTES
                break
            size = int.from_bytes(data[start:body], "big")
            if size > self._max_bytes:
                raise ProtocolError(f"the peer announces a frame of {size} bytes, the limit is {self._max_bytes}")
            end = body + size
            if end > len(data):
                self._needed_bytes = PREFIX_BYTES + size
                break
            try:
                frame: FrameT = self._decode(memoryview(data)[body:end])
            except msgspec.MsgspecError as error:
                raise ProtocolError(f"the peer sent {size} bytes that are no expected frame: {error}") from error
            yield frame
            start = end
        self._buffer += data[start:]
