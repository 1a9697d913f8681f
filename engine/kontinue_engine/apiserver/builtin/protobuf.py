"""Internal. Kubernetes' protobuf bodies: from the envelope to the same document that JSON would have given.

Four bytes of magic, then ``runtime.Unknown`` with the kind and the object's bytes, which are read by the numbers in
``builtin.types``. Pure Python, because bodies are small and rare: kubectl and typed Go clients create built-in kinds
so. Answers are JSON, which these clients take too. Called by ``builtin.rules``.
"""

from __future__ import annotations

import base64
import struct as binary
from collections.abc import Iterator
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import times, types
from kontinue_engine.apiserver.builtin.decoding import Decoder
from kontinue_engine.apiserver.builtin.types import Field
from kontinue_engine.apiserver.values import MAX_NESTING

_MAGIC: Final = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
_STRING_TYPE: Final = 1
"""Of IntOrString.type."""


class _MalformedError(Exception):
    """The bytes are no protobuf, or not of the struct."""


def decode_body(body: bytes) -> dict[str, Any]:
    """Return the object in an envelope, with its apiVersion and kind.

    Raises:
        StatusError: 400, it cannot be read.
    """
    try:
        return _decode_body(body)
    except (_MalformedError, UnicodeDecodeError, RecursionError) as error:
        raise statuses.bad_request(f"the body of the request is not valid Kubernetes protobuf: {error}") from error


def _decode_body(body: bytes) -> dict[str, Any]:
    if not body.startswith(_MAGIC):
        raise _MalformedError("it does not begin with k8s\\0")
    envelope = dict(_entries(memoryview(body)[len(_MAGIC) :]))
    type_meta = dict(_entries(_message(envelope.get(1, b""))))
    api_version, kind = (_text(type_meta.get(number, b"")) for number in (1, 2))
    group, _, version = api_version.rpartition("/")
    struct = types.struct_of(group, version, kind)
    if struct is None:
        raise _MalformedError(f"no kind {kind!r} is registered for version {api_version!r}")
    decoded = _struct(struct, _message(envelope.get(2, b"")), 0)
    # The wire carries every zero value; as in JSON, only those of pointers mean anything.
    return {"apiVersion": api_version, "kind": kind, **Decoder(kind, version).struct(struct, decoded)}


def _struct(name: str, data: memoryview, depth: int) -> dict[str, Any]:
    if depth > MAX_NESTING:
        raise _MalformedError("it is nested too deeply")
    by_number = {field.number: (key, field) for key, field in types.declared_fields(name).items()}
    result: dict[str, Any] = {}
    for number, raw in _entries(data):
        if number not in by_number:
            continue
        key, field = by_number[number]
        if key.startswith(types.INLINE):
            result |= _struct(field.element, _message(raw), depth + 1)
        elif field.container == types.LIST:
            result.setdefault(key, []).extend(_items(field, raw, depth))
        elif field.container == types.MAP:
            entry = dict(_entries(_message(raw)))
            result.setdefault(key, {})[_text(entry.get(1, b""))] = _value(field.element, entry.get(2, b""), depth)
        else:
            result[key] = _value(field.element, raw, depth)
    return result


def _items(field: Field, raw: int | memoryview, depth: int) -> list[Any]:
    if field.element in "ilb" and not isinstance(raw, int):  # packed
        return list(_packed(raw, field.element))
    return [_value(field.element, raw, depth)]


def _packed(data: memoryview, code: str) -> Iterator[Any]:
    position = 0
    while position < len(data):
        number, position = _varint(data, position)
        yield _number(code, number)


def _value(code: str, raw: int | memoryview | bytes, depth: int) -> Any:
    if types.is_struct(code):
        return _struct(code, _message(raw), depth + 1)
    if code.startswith(types.NAMED_LIST):
        return [_text(item) for number, item in _entries(_message(raw)) if number == 1]
    match code:
        case "s":
            return _text(raw)
        case "i" | "l" | "b":
            return _number(code, raw if isinstance(raw, int) else _refuse_empty(raw))
        case "d":
            return binary.unpack("<d", binary.pack("<Q", raw if isinstance(raw, int) else 0))[0]
        case "y":
            return base64.b64encode(_message(raw)).decode()
        case "T" | "M":
            return _time(code, dict(_entries(_message(raw))))
        case "Q":
            return _text(dict(_entries(_message(raw))).get(1, b""))
        case "I":
            return _int_or_string(dict(_entries(_message(raw))))
        case "D":
            return f"{_number('l', _as_int(dict(_entries(_message(raw))).get(1, 0)))}ns"
        case _:
            return _any_json(dict(_entries(_message(raw))).get(1, b""))


def _refuse_empty(raw: memoryview | bytes) -> int:
    if len(raw):
        raise _MalformedError("a number is expected")
    return 0  # a map's value that was left out


def _as_int(raw: int | memoryview | bytes) -> int:
    return raw if isinstance(raw, int) else _refuse_empty(raw)


def _number(code: str, raw: int) -> int | bool:
    if code == "b":
        return raw != 0
    bits = 32 if code == "i" else 64
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if raw >> (bits - 1) else raw


def _time(code: str, fields: dict[int, Any]) -> str | None:
    if not fields:
        return None
    seconds, nanos = (int(_number("l", _as_int(fields.get(number, 0)))) for number in (1, 2))
    found = times.from_epoch(seconds, nanos, is_micro=code == "M")
    if found is None:
        raise _MalformedError("a time is out of range")
    return found


def _int_or_string(fields: dict[int, Any]) -> int | str:
    if _as_int(fields.get(1, 0)) == _STRING_TYPE:
        return _text(fields.get(3, b""))
    return int(_number("i", _as_int(fields.get(2, 0))))


def _any_json(raw: int | memoryview | bytes) -> Any:
    data = _message(raw)
    try:
        return orjson.loads(data) if len(data) else None
    except orjson.JSONDecodeError as error:
        raise _MalformedError(f"embedded JSON: {error}") from error


def _text(raw: int | memoryview | bytes) -> str:
    return bytes(_message(raw)).decode()


def _message(raw: int | memoryview | bytes) -> memoryview:
    if isinstance(raw, int):
        raise _MalformedError("bytes are expected where a number stands")
    return memoryview(raw)


def _entries(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Iterate over (field number, integer or bytes) of a message."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _MalformedError(f"wire type {wire} is not supported")
        if size > end - position:
            raise _MalformedError("it ends in the middle of a field")
        chunk = data[position : position + size]
        position += size
        yield number, chunk if wire == _BYTES else int.from_bytes(chunk, "little")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise _MalformedError("it ends in the middle of a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise _MalformedError("a number has too many bytes")
