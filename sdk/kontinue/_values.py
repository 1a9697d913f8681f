"""Values that msgspec alone does not carry: pydantic models, subclasses, odd keys; and values that nobody may store.

The lower half of ``kontinue.codec``, without types: from any value to canonical JSON bytes, or to an error that names
the path. Object keys and sets are sorted, so equal values have equal bytes (and digests) in every process.
Pydantic models take part once the user has imported pydantic; nothing here imports it.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard, cast, get_args

import msgspec

from kontinue.errors import CodecError

_SHOWN_LENGTH: Final = 80
"""Characters of a value shown in a message; judgement."""
_INTEGERS: Final = range(-(2**63), 2**63)
"""Kubernetes reads larger integers as floats, which changes them."""
_LONG_NUMBER = re.compile(rb"\d{19}")
_REFUSALS: Final = (TypeError, ValueError, OverflowError)


class ModelError(ValueError):
    """A pydantic model refused a value at ``path`` below it."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


class _Anything(type):
    """Metaclass of stand-ins: msgspec asks whether what a hook returned is an instance of the field's class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class StandIn(metaclass=_Anything):
    """Base of classes that take the place of one annotation, in a struct, that only pydantic understands."""

    annotation: Any
    validator: Any


def stand_in(annotation: Any) -> type[StandIn]:
    """Return a class that msgspec accepts as the type of a field, for an annotation that only pydantic understands."""
    validator = pydantic().TypeAdapter(annotation).validator
    return type("StandIn", (StandIn,), {"annotation": annotation, "validator": validator})


def encode_other(value: Any) -> Any:
    """Turn what msgspec does not know into what it does; msgspec's ``enc_hook``."""
    if is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    for base in (str, int, float):  # subclasses, for example numpy.float64
        if isinstance(value, base):
            return base(value)
    if _is_mapping(value):
        return dict(value)
    raise TypeError(f"{type_name(type(value))} has no JSON form")


def decode_other(type_: Any, value: Any) -> Any:
    """Turn parsed JSON into a type that msgspec does not know; msgspec's ``dec_hook``."""
    if type_ is object:
        return value
    validator = validator_of(type_)
    if validator is not None:
        return validate_model(validator, msgspec.json.encode(value))
    raise TypeError(f"{type_name(type_)} cannot be read from JSON")


def validate_model(validator: Any, data: bytes | str) -> Any:
    """Return what a pydantic validator makes of ``data`` (JSON).

    Raises:
        ModelError: it refused.
    """
    try:
        return validator.validate_json(data)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if details is None:
            raise
        first = details()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ModelError(f"{first['msg']}, got {shown(first['input'])}", path) from error


def cause_of(error: Exception) -> BaseException | None:
    """Return what a user's validator raised behind a decoder's ``error``: the decoder's own text is in ours."""
    cause = error if isinstance(error, ModelError) else error.__cause__
    return cause.__cause__ if isinstance(cause, ModelError) else cause


def pydantic() -> Any:
    """Return the pydantic module if somebody has imported it, else None."""
    return sys.modules.get("pydantic")


def is_model(type_: Any) -> bool:
    """Tell whether ``type_`` is a pydantic model class."""
    base = getattr(pydantic(), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def validator_of(type_: Any) -> Any:
    """Return the validator of a pydantic model class or a stand-in, None for any other type."""
    if is_model(type_):
        return type_.__pydantic_validator__
    return type_.validator if isinstance(type_, type) and issubclass(type_, StandIn) else None


def mentions_model(type_: Any) -> bool:
    """Tell whether a pydantic model stands anywhere in the annotation ``type_``."""
    return is_model(type_) or any(mentions_model(part) for part in get_args(type_))


_encode = msgspec.json.Encoder(enc_hook=encode_other, order="deterministic").encode


def encode_any(value: object) -> bytes:
    """Return the JSON of ``value``, whatever its type.

    Raises:
        CodecError: JSON cannot carry it; NaN, infinity and integers past 64 bits among others.
    """
    try:
        data = _encode(value)
    except (*_REFUSALS, RecursionError):
        data = _encode_slowly(value)
    if (b"null" in data and value is not None) or _LONG_NUMBER.search(data):  # msgspec writes NaN as null
        _refuse_numbers(value)
    return data


def digest_of_any(value: object) -> str:
    """Return a digest of any value, the same in every process: what JSON cannot carry counts by its class only."""
    try:
        return digest(_encode(value))
    except (*_REFUSALS, RecursionError):
        return digest(_encode(_by_class(value)))


def digest(data: bytes) -> str:
    """Return a short text that stands for ``data`` in records and annotations: 16 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def type_name(type_: Any) -> str:
    """Return how a user would write ``type_``."""
    if not isinstance(type_, type) or get_args(type_):
        return str(type_).replace("typing.", "")
    return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"


def shown(value: object) -> str:
    """Return ``repr(value)``, cut to the length of a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _to_builtins(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=encode_other)


def _encode_slowly(value: object) -> bytes:
    """Encode what the fast path refuses but JSON can carry (keys that are not text); else say where it fails."""
    try:
        return _encode(_to_builtins(value))
    except RecursionError as error:
        raise CodecError("the value contains itself or is nested too deeply for JSON") from error
    except _REFUSALS as error:
        path, message = _first_refused(value, "$") or ("$", str(error))
        raise CodecError(message if path == "$" else f"{path}: {message}", path=path) from None


def _first_refused(value: Any, path: str) -> tuple[str, str] | None:
    """Return path and reason of the innermost value that cannot be encoded; None when this one can."""
    try:
        _encode(_to_builtins(value))
    except _REFUSALS as error:
        for part, inner in _parts(value):
            found = _first_refused(inner, path + part)
            if found is not None:
                return found
        if isinstance(value, set | frozenset):
            return path, f"this set cannot be sorted, so it has no fixed order in JSON: use a list ({error})"
        return path, f"expected a value that JSON can carry, got {type_name(type(value))} {shown(value)} ({error})"
    return None


def _refuse_numbers(value: object) -> None:
    found = _first_bad_number(_to_builtins(value), "$")
    if found is not None:
        path, message = found
        raise CodecError(message if path == "$" else f"{path}: {message}", path=path)


def _first_bad_number(value: Any, path: str) -> tuple[str, str] | None:
    """Return path and reason of a number that does not survive a Kubernetes API server; None when all do."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, f"expected a finite number, got {value}")
    if isinstance(value, int):
        return None if value in _INTEGERS else (path, f"expected an integer of 64 bits, got {value}")
    for part, inner in _parts(value):
        found = _first_bad_number(inner, path + part)
        if found is not None:
            return found
    return None


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """Return what ``value`` holds, with the step of a JSON path that leads to each part."""
    if _is_mapping(value):
        return [(f".{key}", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{index}]", inner) for index, inner in enumerate(cast("Iterable[Any]", value))]
    names: Any = getattr(value, "__dataclass_fields__", None) or getattr(value, "__struct_fields__", ())
    return [(f".{name}", getattr(value, name, None)) for name in names]


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _by_class(value: Any) -> Any:
    """Return ``value`` with everything that JSON cannot carry replaced by the name of its class."""
    try:
        return _to_builtins(value)
    except RecursionError:
        return f"<{type_name(type(value))}>"
    except _REFUSALS:
        if _is_mapping(value):
            return {digest_of_any(key): _by_class(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [_by_class(inner) for inner in cast("Iterable[Any]", value)]
        if isinstance(value, set | frozenset):
            return sorted(digest_of_any(inner) for inner in cast("Iterable[Any]", value))
        return f"<{type_name(type(value))}>"
