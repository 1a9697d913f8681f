"""Internal. What is known of an Execution that sleeps, as a few hundred bytes. Pure.

``controllers.entries`` keeps these bytes instead of a dozen objects for who waits without an activation: there may be
ten thousand of them, for months. They are compressed JSON, with a dictionary of what all of them have in common. They
stay in this process, so the format may change with any release.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionSpec, ExecutionStatus

_WINDOW_BITS: Final = -12
"""4 KiB, without a header: what is folded is rarely longer, and more would have to be prepared for each."""
_MEMORY_LEVEL: Final = 3
"""Likewise."""
_DICTIONARY: Final = (
    b'"annotations":{"kontinue.cloud/deaths":"1","reason":"","message":"","crashes":1,"resumptions":1,'
    b'"observedRetries":1,"defaults":{"retry":{"retries":3,"backoff":"5s"},"timeout":{"attempt":"1h","overall":""}},'
    b'"kind":"Execution","name":"Timer","cache":[],"cuts":[],"arguments":{},"timers":{},"kind":"child","outcome":{},'
    b'"labels":{"kontinue.cloud/function":"","kontinue.cloud/root":"","kontinue.cloud/worker-group":"",'
    b'"kontinue.cloud/shard":"","kontinue.cloud/parent":""},"spec":{"function":"","arguments":{}},'
    b'"status":{"phase":"Suspended","owner":{"shard":"","incarnation":"","epoch":1},"state":{"build":"","records":[],'
    b'"attempts":[{"number":1,"startedAt":"2026-01-01T00:00:00.000000Z","worker":""}],"attemptCount":1,'
    b'"startedAt":"2026-","waitingFor":[{"kind":"Suspension","name":"","until":"2026-01-01T00:00:00.000000Z"}]'
)


class Folded(msgspec.Struct, frozen=True):
    """What is put away: attributes of an entry."""

    labels: dict[str, str]
    annotations: dict[str, str]
    created_at_ms: int
    ends_of_waits: dict[str, int]
    spec: ExecutionSpec
    status: ExecutionStatus


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Folded).decode


def fold(content: Folded) -> bytes:
    """Return what ``unfold`` makes the same of."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    return deflate.compress(_encode(content)) + deflate.flush()


def unfold(folded: bytes) -> Folded:
    """Return what was folded."""
    return _decode(zlib.decompressobj(_WINDOW_BITS, _DICTIONARY).decompress(folded))
