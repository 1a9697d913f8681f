"""Internal. Calls a user's function with JSON arguments and encodes what it returns; failures become values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kontinue.definition import FunctionDefinition
from kontinue.errors import ContinueAsNew
from kontinue_engine.runner.failures import Continuation, Failure, user_failure

Definition = FunctionDefinition[..., Any]


def call(function: Definition, first: tuple[Any, ...], arguments: bytes) -> bytes | Failure:
    """Call a sync function; ``first`` are the parameters before the arguments: the context, if any."""
    try:
        args, kwargs = function.codec.decode_arguments(arguments)
    except Exception as error:  # noqa: BLE001 - InvalidArguments, or anything from a user's validator
        return Failure(error, "InvalidArguments")
    fn: Callable[..., Any] = function.fn
    try:
        value = fn(*first, *args, **kwargs)
    except ContinueAsNew as request:
        return Continuation(complete(function, request.arguments) or request.arguments)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in user code must not end the runner
        return user_failure(error)
    return _encode(function, value)


async def call_async(function: Definition, first: tuple[Any, ...], arguments: bytes) -> bytes | Failure:
    """Call an async function like ``call`` does. A cancellation is a failure like others: who canceled knows."""
    try:
        args, kwargs = function.codec.decode_arguments(arguments)
    except Exception as error:  # noqa: BLE001 - InvalidArguments, or anything from a user's validator
        return Failure(error, "InvalidArguments")
    fn: Callable[..., Any] = function.fn
    try:
        value = await fn(*first, *args, **kwargs)
    except ContinueAsNew as request:
        return Continuation(complete(function, request.arguments) or request.arguments)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in user code must not end the runner
        return user_failure(error)
    return _encode(function, value)


def complete(function: Definition, arguments: bytes) -> bytes:
    """Return the arguments with defaults, or nothing where they are complete, or do not fit (``call`` says why)."""
    try:
        args, kwargs = function.codec.decode_arguments(arguments)
        completed = function.codec.encode_arguments(args, kwargs)
    except Exception:  # noqa: BLE001 - see above
        return b""
    return b"" if msgspec.json.decode(completed) == msgspec.json.decode(arguments) else completed


def _encode(function: Definition, value: object) -> bytes | Failure:
    try:
        return function.codec.encode_result(value)
    except Exception as error:  # noqa: BLE001 - InvalidResult, or anything from a user's serializer
        return Failure(error, "InvalidResult")
