"""Arguments of a function called by name, checked against the JSON Schema in its Function object. Pure.

Calls by definition do not come here: their codec knows the types. The check finds unknown and missing names by
itself; with ``jsonschema_rs`` at hand everything else is checked too, else the worker finds it when the function
starts. Called by ``kontinue.client.client.Client.spawn``, and for schedules by clients and by who leads their group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from kontinue import codec
from kontinue.api.v1alpha1 import MAX_ARGUMENTS_BYTES, Function
from kontinue.errors import CodecError, InvalidArguments

FindProblems = Callable[[object], Iterable[Any]]

MAX_SCHEMAS: Final = 256
"""Schemas kept ready: as many functions as one client usually calls by name. Judgement."""
_MAX_MESSAGE: Final = 300
"""Characters of what the validator says, which may repeat the value. Judgement."""


def encode_for(function: Function, arguments: object) -> bytes:
    """Return ``arguments`` as the JSON object of ``spec.arguments``; None means no arguments.

    Raises:
        InvalidArguments: no JSON object, too large, or not what the function takes; ``path`` says where.
    """
    name = function.spec.name
    try:
        data = b"{}" if arguments is None else codec.encode_any(arguments)
    except CodecError as error:
        raise InvalidArguments(f"{name}: {error}", path=error.path) from error.__cause__
    if len(data) > MAX_ARGUMENTS_BYTES:
        raise InvalidArguments(
            f"{name}: arguments are {len(data):,} bytes of JSON, the limit is {MAX_ARGUMENTS_BYTES:,}: "
            "store the data elsewhere and pass where it is"
        )
    try:
        value = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.ValidationError:
        raise InvalidArguments(
            f"{name}: arguments must be a mapping of parameter names to values, got {type(arguments).__name__}"
        ) from None
    if function.spec.arguments is not msgspec.UNSET:
        schema = _read_schema(bytes(function.spec.arguments))
        _check_names(name, schema, value)
        _check_values(name, schema, value)
    return data


def check_stored(function: Function, arguments: bytes) -> None:
    """Check the arguments that an object carries, as JSON; raises like ``encode_for``."""
    encode_for(function, msgspec.json.decode(arguments))


class _Schema(msgspec.Struct, frozen=True):
    """The JSON Schema of a function's arguments.

    Attributes:
        known: names of its parameters.
        required: those without a default.
        is_closed: whether it lists all: as kontinue writes it, or without any further key allowed.
        find_problems: the errors of a value; None where nothing can check values.
    """

    known: tuple[str, ...]
    required: tuple[str, ...]
    is_closed: bool
    find_problems: FindProblems | None


@functools.lru_cache(maxsize=MAX_SCHEMAS)
def _read_schema(data: bytes) -> _Schema:
    schema = msgspec.json.decode(data, type=dict[str, Any])
    return _Schema(
        known=tuple(schema.get("properties", ())),
        required=tuple(schema.get("required", ())),
        is_closed=schema.get("additionalProperties") is False,
        find_problems=_compile(schema),
    )


def _compile(schema: dict[str, Any]) -> FindProblems | None:
    """Return what finds the errors of a value; None where nothing can check values, or nobody can use the schema."""
    try:
        import jsonschema_rs  # here: optional
    except ImportError:
        return None
    try:
        return jsonschema_rs.validator_for(schema).iter_errors
    except ValueError:
        return None  # a schema that nobody can use, for example with an unknown reference: the worker decides


def _check_names(name: str, schema: _Schema, given: Mapping[str, Any]) -> None:
    known = schema.known
    missing = [key for key in schema.required if key not in given]
    unknown = [key for key in given if key not in known] if schema.is_closed else []
    problems = [f"missing {', '.join(missing)}"] if missing else []
    problems += [codec.describe_unknown(key, known) for key in unknown]
    if problems:
        expected = f"its parameters are {', '.join(known) or 'none'}"
        raise InvalidArguments(f"{name}: {', '.join(problems)}; {expected}", path=f"$.{(missing or unknown)[0]}")


def _check_values(name: str, schema: _Schema, value: object) -> None:
    problem = _first(schema.find_problems, value)
    if problem is not None:
        path, message = problem
        raise InvalidArguments(f"{name}: {path}: {message}", path=path)


@functools.lru_cache(maxsize=MAX_SCHEMAS)
def _compile_whole(schema: bytes) -> FindProblems | None:
    return _compile(msgspec.json.decode(schema, type=dict[str, Any]))


def first_problem(schema: bytes, value: object) -> tuple[str, str] | None:
    """Return where a value does not fit a JSON Schema, and why; None if it fits, or nothing here can tell."""
    return _first(_compile_whole(schema), value)


def _first(find_problems: FindProblems | None, value: object) -> tuple[str, str] | None:
    problem = next(iter(find_problems(value)), None) if find_problems is not None else None
    return None if problem is None else _explain(problem)


def _explain(problem: Any) -> tuple[str, str]:
    """Return where a value is wrong, and what was expected there and what given, cut to the length of a message."""
    kind, path, given = problem.kind, json_path(problem.instance_path), codec.shown(problem.instance)
    match kind.name:
        case "type":
            return path, f"expected {' or '.join(kind.types)}, got {given}"
        case "enum":
            return path, f"expected one of {', '.join(map(repr, kind.options))}, got {given}"
        case "required":
            return f"{path}.{kind.property}", f"missing {kind.property}"
        case "additionalProperties":
            return f"{path}.{kind.unexpected[0]}", f"unknown {', '.join(kind.unexpected)}"
        case "anyOf":
            return path, f"expected {_alternatives(problem) or 'one of its types'}, got {given}"
        case _:
            message: str = problem.message
            return path, message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def _alternatives(problem: Any) -> str:
    """Return the types that a value may have; empty if one of them is wrong further inside."""
    found = [one for branch in problem.kind.context for one in branch]
    if any(one.kind.name != "type" or one.instance_path != problem.instance_path for one in found):
        return ""
    return " or ".join(dict.fromkeys(type_ for one in found for type_ in one.kind.types))


def json_path(parts: Iterable[str | int]) -> str:
    """Return the path of a value in the form ``$.targets[2]``."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
