"""Reads the bodies of answers as typed objects; an answer that does not fit is an error of ours. Pure.

Used by ``kontinue.client``. That a body is JSON at all has been seen by the transport (``kontinue.kube.http``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from kontinue import errors
from kontinue.kube.watch import MetadataOnly

T = TypeVar("T")

_decode_metadata: Final = msgspec.json.Decoder(MetadataOnly).decode


def reader(type_: type[T], *, what: str = "") -> Callable[[bytes], T]:
    """Return what reads a body as a ``type_``.

    Args:
        type_: type of the whole body.
        what: what it is, for people; by default the name of the type.

    The function that is returned raises ApiError if the body is something else.
    """
    decode: Callable[[bytes], T] = msgspec.json.Decoder[Any](type_).decode
    name = what or type_.__name__

    def read(body: bytes) -> T:
        try:
            return decode(body)
        except msgspec.MsgspecError as error:
            raise errors.ApiError(
                f"{_whose(body)} is no {name} as this version of kontinue knows it: {error}. Are the "
                "CustomResourceDefinitions in the cluster of another version (`kontinue doctor`)?"
            ) from error

    return read


def _whose(body: bytes) -> str:
    """Return which object an answer that cannot be read is about, as far as it says."""
    try:
        metadata = _decode_metadata(body).metadata
    except msgspec.MsgspecError:
        return "the API server's answer"
    return f"{metadata.namespace}/{metadata.name}" if metadata.name else "the API server's answer"
