"""JSON of arguments, results and memo values, typed by annotations: bytes in, values out, errors that name the path.

``TypeCodec`` serves one type and is built once, at definition; ``encode`` and ``decode`` look it up. Encoding proves
that the value comes back: what is written is decoded as the declared type at once, so a wrong type shows where it was
produced. Object keys and sets are sorted, so that equal values have equal bytes (and digests) in every process.
Pydantic models take part when the user has imported pydantic; ``kontinue.definition`` checks types before use.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Final, get_args

import msgspec

from kontinue.api.v1alpha1 import MAX_RESULT_BYTES
from kontinue.errors import CodecError, InvalidResult, ResultDecodeError

_AT_PATH = re.compile(r"(.*) - at `(?:key in )?(\$.*)`", re.DOTALL)
_SHOWN_LENGTH: Final = 80
"""Characters of a value shown in a message; judgement."""
_MAX_DIGEST_DEPTH: Final = 50


class _ModelError(ValueError):
    """A pydantic model refused a value at ``path`` below it."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def _encode_other(value: Any) -> Any:
    """Turn what msgspec does not know into what it does."""
    if is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    for base in (str, int, float):  # subclasses, for example numpy.float64
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type_name(type(value))} has no JSON form")


def _decode_other(type_: Any, value: Any) -> Any:
    """Turn parsed JSON into a type that msgspec does not know."""
    if type_ is object:
        return value
    if is_model(type_):
        return _validate_model(type_.__pydantic_validator__, msgspec.json.encode(value))
    raise TypeError(f"{type_name(type_)} cannot be read from JSON")


def _validate_model(validator: Any, data: bytes | str) -> Any:
    try:
        return validator.validate_json(data)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if details is None:
            raise
        first = details()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise _ModelError(f"{first['msg']}, got {_shown(first.get('input'))}", path) from error


def _encode_class(value: Any) -> Any:
    """Like ``_encode_other``, but what JSON cannot carry counts by its class."""
    try:
        return _encode_other(value)
    except TypeError:
        return f"<{type_name(type(value))}>"


_encode = msgspec.json.Encoder(enc_hook=_encode_other, order="deterministic").encode


class TypeCodec:
    """Encodes and decodes values of one type.

    Raises:
        TypeError: msgspec cannot read this type from JSON; the message says why.
    """

    def __init__(self, type_: Any) -> None:
        self.type = Any if type_ is object else type_
        self._model: Any = None
        if is_model(self.type):
            self._model = self.type.__pydantic_validator__
            return
        try:
            self._decode = msgspec.json.Decoder(self.type, dec_hook=_decode_other).decode
        except TypeError:
            if not mentions_model(self.type):
                raise
            self._model = sys.modules["pydantic"].TypeAdapter(self.type).validator

    def encode(self, value: object) -> bytes:
        """Return the JSON of ``value``.

        Raises:
            CodecError: JSON cannot carry it, or it is not of the declared type.
        """
        data = encode_any(value)
        if self.type is not Any and (value is not None or self.type is not NoneType):
            self.decode(data)
        return data

    def decode(self, data: bytes | str) -> Any:
        """Return the value that ``data`` (JSON) holds.

        Raises:
            CodecError: not JSON, or not of this type.
        """
        try:
            if self._model is None:
                return self._decode(data)
            return _validate_model(self._model, data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise codec_error(error) from error


class ResultCodec:
    """Encodes and decodes what a function or step returns."""

    def __init__(self, type_: Any) -> None:
        self._codec = codec_for(type_)

    def encode_result(self, value: object) -> bytes:
        """Return the JSON of a result.

        Raises:
            InvalidResult: not JSON, not of the declared type, or larger than MAX_RESULT_BYTES.
        """
        try:
            data = self._codec.encode(value)
        except CodecError as error:
            declared = "" if self._codec.type is Any else f", declared {type_name(self._codec.type)}"
            message = f"result of type {type_name(type(value))}{declared}: {error}"
            raise InvalidResult(message, path=error.path) from error
        if len(data) > MAX_RESULT_BYTES:
            raise InvalidResult(
                f"result of type {type_name(type(value))} is {len(data):,} bytes of JSON, the limit is "
                f"{MAX_RESULT_BYTES:,}: store it elsewhere and return where it is"
            )
        return data

    def decode_result(self, data: bytes | str) -> Any:
        """Return the value of a stored result.

        Raises:
            ResultDecodeError: it does not fit the declared type (any more).
        """
        try:
            return self._codec.decode(data)
        except CodecError as error:
            message = f"stored result does not decode as {type_name(self._codec.type)}: {error}"
            raise ResultDecodeError(message, path=error.path) from error

    def result_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of results."""
        return json_schema(self._codec.type)


def encode(value: object, type_: object) -> bytes:
    """Return the JSON of ``value``, proven to be of ``type_``. See ``TypeCodec.encode``."""
    return codec_for(type_).encode(value)


def decode(data: bytes | str, type_: object) -> object:
    """Return the value of ``type_`` that ``data`` holds. See ``TypeCodec.decode``."""
    return codec_for(type_).decode(data)


def codec_for(type_: Any) -> TypeCodec:
    """Return the codec of ``type_``, built on first use."""
    try:
        return _cached_codec(type_)
    except TypeError:  # not hashable, for example Annotated with a list; or not supported, then it raises again
        return TypeCodec(type_)


_cached_codec = lru_cache(maxsize=1024)(TypeCodec)


def encode_any(value: object) -> bytes:
    """Return the JSON of ``value``, whatever its type.

    Raises:
        CodecError: JSON cannot carry it; NaN and infinity among others.
    """
    try:
        data = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        data = _encode_slowly(value)
    if b"null" in data and value is not None:  # msgspec writes NaN as null
        _refuse_nan(value)
    return data


def digest_of_any(value: object) -> str:
    """Return a digest of any value, the same in every process: what JSON cannot carry counts by its class only."""
    try:
        return digest(_encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return digest(_encode(_by_class(value, 0)))


def digest(data: bytes) -> str:
    """Return a short text that stands for ``data`` in records and annotations: 16 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def is_model(type_: Any) -> bool:
    """Tell whether ``type_`` is a pydantic model class; never imports pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(type_, type) and issubclass(type_, pydantic.BaseModel)


def mentions_model(type_: Any) -> bool:
    """Tell whether a pydantic model stands anywhere in the annotation ``type_``."""
    return is_model(type_) or any(mentions_model(part) for part in get_args(type_))


def type_name(type_: Any) -> str:
    """Return how a user would write ``type_``."""
    if not isinstance(type_, type) or get_args(type_):
        return str(type_).replace("typing.", "")
    return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"


def codec_error(error: Exception) -> CodecError:
    """Return ``error`` of a decoder as ours: the message says what was expected and got, ``.path`` says where."""
    match = _AT_PATH.fullmatch(str(error))
    message, path = (match[1], match[2]) if match else (str(error), "$")
    model_error = error if isinstance(error, _ModelError) else error.__cause__
    if isinstance(model_error, _ModelError):
        path += model_error.path
    message = message.replace("`", "")
    return CodecError(f"{path}: {message}" if path != "$" else message, path=path)


def json_schema(type_: Any) -> dict[str, Any]:
    """Return the JSON Schema of ``type_``; definitions that it shares stand under ``$defs``."""
    shared: dict[str, Any] = {}

    def model_schema(model: Any) -> dict[str, Any]:
        if not mentions_model(model):
            raise NotImplementedError
        prefix = getattr(model, "__name__", "model")
        adapter = sys.modules["pydantic"].TypeAdapter(model)
        schema: dict[str, Any] = adapter.json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
        shared.update({f"{prefix}.{name}": part for name, part in schema.pop("$defs", {}).items()})
        return schema

    try:
        schema = msgspec.json.schema(type_, schema_hook=model_schema)
    except TypeError:
        if not mentions_model(type_):
            raise
        schema = model_schema(type_)
    if shared:
        schema["$defs"] = {**schema.get("$defs", {}), **shared}
    return schema


def _encode_slowly(value: object) -> bytes:
    """Encode what the fast path refuses but JSON can carry (keys that are not text); else say where it fails."""
    try:
        return _encode(msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_encode_other))
    except RecursionError as error:
        raise CodecError("the value contains itself or is nested too deeply for JSON") from error
    except (TypeError, ValueError, OverflowError) as error:
        path, message = _first_refused(value, "$") or ("$", str(error))
        raise CodecError(f"{path}: {message}" if path != "$" else message, path=path) from error


def _first_refused(value: Any, path: str) -> tuple[str, str] | None:
    """Return path and reason of the innermost value that cannot be encoded; None when this one can."""
    try:
        _encode(msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_encode_other))
    except (TypeError, ValueError, OverflowError) as error:
        for part, inner in _parts(value):
            found = _first_refused(inner, path + part)
            if found is not None:
                return found
        if isinstance(value, set | frozenset):
            return (
                path,
                f"a set of values that cannot be sorted, so it has no fixed order in JSON: use a list ({error})",
            )
        return path, f"expected a value that JSON can carry, got {type_name(type(value))} {_shown(value)} ({error})"
    return None


def _by_class(value: Any, depth: int) -> Any:
    """Return ``value`` reduced to what JSON can carry; below a depth that no real argument has, only the class."""
    if depth < _MAX_DIGEST_DEPTH:
        if isinstance(value, Mapping):
            return {str(_by_class(key, depth + 1)): _by_class(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, set | frozenset):
            return sorted(digest_of_any(inner) for inner in value)
        if isinstance(value, list | tuple):
            return [_by_class(inner, depth + 1) for inner in value]
        try:
            return msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_encode_class)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return f"<{type_name(type(value))}>"
    return f"<{type_name(type(value))}>"


def _refuse_nan(value: object) -> None:
    found = _first_nan(msgspec.to_builtins(value, str_keys=True, enc_hook=_encode_other), "$")
    if found is not None:
        path, number = found
        message = f"expected a finite number, got {number}, which JSON cannot carry"
        raise CodecError(f"{path}: {message}" if path != "$" else message, path=path)


def _first_nan(value: Any, path: str) -> tuple[str, float] | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, value)
    for part, inner in _parts(value):
        found = _first_nan(inner, path + part)
        if found is not None:
            return found
    return None


def _parts(value: Any) -> Sequence[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f".{key}", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{index}]", inner) for index, inner in enumerate(value)]
    names = getattr(type(value), "__dataclass_fields__", None) or getattr(type(value), "__struct_fields__", ())
    return [(f".{name}", getattr(value, name, None)) for name in names]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
