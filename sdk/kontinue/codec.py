"""JSON of arguments, results and memo values, typed by annotations: bytes in, values out, errors that name the path.

``TypeCodec`` serves one type and is built once, at definition; ``encode`` and ``decode`` look it up. Encoding proves
that the value comes back: what is written is decoded as the declared type at once, so a wrong type shows where it was
produced. ``kontinue._values`` carries what msgspec does not know; ``kontinue.definition`` checks types before use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache
from types import NoneType
from typing import Any

import msgspec

from kontinue import _values
from kontinue._values import digest, digest_of_any, encode_any, is_model, mentions_model, shown, type_name
from kontinue.api.v1alpha1 import MAX_RESULT_BYTES
from kontinue.errors import CodecError, InvalidResult, ResultDecodeError

__all__ = [
    "ResultCodec",
    "TypeCodec",
    "codec_for",
    "decode",
    "describe_unknown",
    "digest",
    "digest_of_any",
    "encode",
    "encode_any",
    "field_type",
    "is_model",
    "json_schema",
    "mentions_model",
    "shown",
    "type_name",
]

_YAML_BOOLEANS = {"false": "n, no or off", "true": "y, yes or on"}
"""What a key that YAML has made a boolean may have been."""
_AT_PATH = re.compile(r"(.*) - at `(?:key in )?(\$.*)`", re.DOTALL)


class TypeCodec:
    """Encodes and decodes values of one type.

    Raises:
        TypeError: msgspec cannot read this type from JSON; the message says why.
    """

    def __init__(self, type_: Any) -> None:
        self.type: Any = Any if type_ is object else type_
        self._model = _values.validator_of(type_)
        if self._model is not None:
            return
        try:
            self._decode = msgspec.json.Decoder(self.type, dec_hook=_values.decode_other).decode
        except TypeError:
            if not mentions_model(self.type):
                raise
            self._model = _values.pydantic().TypeAdapter(self.type).validator

    @property
    def is_pydantic(self) -> bool:
        """Whether pydantic decodes this type, and not msgspec."""
        return self._model is not None

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
            return _values.validate_model(self._model, data)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise _codec_error(error) from _values.cause_of(error)


def field_type(type_: Any) -> Any:
    """Return what a msgspec struct takes for a field of ``type_``: itself, or a stand-in for unions of models."""
    if codec_for(type_).is_pydantic and not is_model(type_):
        return _values.stand_in(type_)
    return type_


class ResultCodec:
    """Encodes and decodes what a function or step returns."""

    def __init__(self, type_: Any) -> None:
        self._result = codec_for(type_)

    def encode_result(self, value: object) -> bytes:
        """Return the JSON of a result.

        Raises:
            InvalidResult: not JSON, not of the declared type, or larger than MAX_RESULT_BYTES.
        """
        try:
            data = self._result.encode(value)
        except CodecError as error:
            declared = "" if self._result.type is Any else f", declared {type_name(self._result.type)}"
            message = f"result of type {type_name(type(value))}{declared}: {error}"
            raise InvalidResult(message, path=error.path) from error.__cause__
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
            return self._result.decode(data)
        except CodecError as error:
            message = f"stored result does not decode as {type_name(self._result.type)}: {error}"
            raise ResultDecodeError(message, path=error.path) from error.__cause__

    def result_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of results."""
        return json_schema(self._result.type)


def encode(value: object, type_: object) -> bytes:
    """Return the JSON of ``value``, proven to be of ``type_``. See ``TypeCodec.encode``."""
    return codec_for(type_).encode(value)


def decode(data: bytes | str, type_: object) -> object:
    """Return the value of ``type_`` that ``data`` holds. See ``TypeCodec.decode``."""
    return codec_for(type_).decode(data)


def codec_for(type_: Any) -> TypeCodec:
    """Return the codec of ``type_``, built on first use.

    Raises:
        TypeError: msgspec cannot read this type from JSON; the message says why.
    """
    try:
        hash(type_)
    except TypeError:  # for example Annotated with a list
        return TypeCodec(type_)
    return _cached_codec(type_)


_cached_codec = lru_cache(maxsize=1024, typed=True)(TypeCodec)


def json_schema(type_: Any) -> dict[str, Any]:
    """Return the JSON Schema of ``type_``; what it uses more than once stands under ``$defs``."""
    shared: dict[str, Any] = {}

    def model_schema(model: Any) -> dict[str, Any]:
        if model is object:
            return {"title": "Any"}
        model = getattr(model, "annotation", model) if _values.validator_of(model) is not None else model
        if not mentions_model(model):
            raise NotImplementedError
        prefix = getattr(model, "__qualname__", "Model")
        adapter = _values.pydantic().TypeAdapter(model)
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


def _codec_error(error: Exception) -> CodecError:
    """Return a decoder's ``error`` as ours: the message says what was expected and got, ``.path`` says where."""
    match = _AT_PATH.fullmatch(str(error))
    message, path = (match[1], match[2]) if match else (str(error), "$")
    refusal = error if isinstance(error, _values.ModelError) else error.__cause__
    if isinstance(refusal, _values.ModelError):
        path += refusal.path
    message = message.replace("`", "")
    return CodecError(message if path == "$" else f"{path}: {message}", path=path)


def describe_unknown(name: str, known: Iterable[str]) -> str:
    """Say that no parameter has that name, and what may have been meant."""
    if spellings := _YAML_BOOLEANS.get(name):
        return f"unknown {name} (if it was {spellings}: quote it, YAML reads them as booleans)"
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {name}" + (f" (did you mean {near[0]}?)" if near else "")
