"""The one write of a spawn: create the Execution, or recognise it when it exists already.

Called by ``Client.spawn`` once the function is known and its arguments are encoded. The client chooses name and nonce,
so a create whose answer was lost can be repeated: AlreadyExists with our own nonce is success.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Coroutine, Iterator
from itertools import zip_longest
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from kontinue import errors, naming
from kontinue.api import labels
from kontinue.api.meta import ApiObject, ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionMutex, ExecutionSpec, Function
from kontinue.client.options import SpawnOptions
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Request


class Send(Protocol):
    """Sends one request, throttled and retried as its client says."""

    def __call__(self, request: Request, *, repeatable: bool | None = None) -> Coroutine[Any, Any, bytes]:
        """Return the body of the answer, or raise an ApiError."""
        ...


class NewExecution(ApiObject, frozen=True, kw_only=True):
    """An Execution as created: without a status."""

    metadata: ObjectMeta
    spec: ExecutionSpec
    api_version: str = labels.API_VERSION
    kind: str = "Execution"


class _Created(msgspec.Struct, frozen=True):
    """What is read of the answer to a create."""

    metadata: ObjectMeta


Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

_NOTHING: Final = math.nan
"""Stands where a list has ended: JSON has none, and it equals nothing."""
_decode_created: Final = reader(_Created, what="Execution")
_decode_execution: Final = reader(Execution)


async def create_execution(
    send: Send, namespace: str, function: Function, arguments: bytes, options: SpawnOptions
) -> ObjectMeta:
    """Create an Execution of ``function`` and return its metadata.

    Raises:
        AlreadyExists: somebody else's object has the wanted name and cannot be attached to.
        ApiError: the server refuses.
    """
    nonce = secrets.token_hex(16)
    name = options.name or naming.root_name(function.spec.name, nonce[:10])
    new = NewExecution(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            labels={
                labels.WORKER_GROUP: labels.label_value(function.spec.worker_group),
                labels.FUNCTION: labels.label_value(function.spec.name),
            },
            annotations={labels.NONCE: nonce},
        ),
        spec=ExecutionSpec(
            function=function.spec.name,
            arguments=msgspec.Raw(arguments),
            retry=options.retry.to_api() if options.retry else None,
            timeout=options.timeout.to_api() if options.timeout else None,
            ttl=options.ttl.to_api() if options.ttl else None,
            mutex=ExecutionMutex(name=options.mutex) if options.mutex else None,
        ),
    )
    try:
        return await create_once(send, namespace, new)
    except TakenName as taken:
        _check_attachable(taken.by, new.spec, options, taken)
        return taken.by.metadata


class TakenName(errors.AlreadyExists):
    """The name belongs to another Execution, ``by``."""

    def __init__(self, by: Execution, error: errors.AlreadyExists) -> None:
        super().__init__(str(error), status=error.status, reason=error.reason)
        self.by = by


async def create_once(send: Send, namespace: str, new: NewExecution | Execution) -> ObjectMeta:
    """Create an Execution that carries a nonce, and return its metadata, also if an answer got lost on the way.

    Raises:
        TakenName: there is another one of that name.
        ApiError: the server refuses.
    """
    doubt = f"whether Execution {namespace}/{new.metadata.name} was created is not known"
    try:
        return await _create_or_recognise(send, namespace, new)
    except asyncio.CancelledError as error:
        error.add_note(doubt)  # kontinue.client.limits tells it, if it was the limit of time that has cut this off
        raise
    except errors.Unavailable as error:
        raise errors.Unavailable(
            f"{doubt}: {error}", status=error.status, reason=error.reason, retry_after_s=error.retry_after_s
        ) from error


async def _create_or_recognise(send: Send, namespace: str, new: NewExecution | Execution) -> ObjectMeta:
    try:
        body = await send(requests.create(requests.EXECUTIONS, namespace, new), repeatable=True)
    except errors.AlreadyExists as error:
        existing = await _read_existing(send, namespace, new.metadata.name, error)
        if existing.metadata.annotations.get(labels.NONCE) != new.metadata.annotations[labels.NONCE]:
            raise TakenName(existing, error) from error
        return existing.metadata
    return _decode_created(body).metadata


async def _read_existing(send: Send, namespace: str, name: str, error: errors.AlreadyExists) -> Execution:
    try:
        return _decode_execution(await send(requests.get(requests.EXECUTIONS, namespace, name)))
    except errors.NotFound:
        raise errors.AlreadyExists(
            f"Execution {namespace}/{name} was there when it was to be created, and is gone now: somebody else's, or "
            "what this call has created itself. Spawn it again if it is to run",
            status=error.status,
            reason=error.reason,
        ) from error


def _check_attachable(
    existing: Execution, wanted: ExecutionSpec, options: SpawnOptions, error: errors.AlreadyExists
) -> None:
    where = f"Execution {existing.metadata.namespace}/{existing.metadata.name}"
    found = existing.spec
    if options.if_exists != "attach":
        message = (
            f"{where} exists already (function {found.function!r}, phase {existing.phase}): choose another "
            "name, or wait for the one that exists: SpawnOptions(if_exists='attach') in Python, "
            f"`kontinue wait {existing.metadata.name}` in a shell"
        )
    elif found.function != wanted.function:
        message = (
            f"{where} cannot be attached to: it runs {found.function!r}, not {wanted.function!r}. Choose another name"
        )
    elif (path := first_difference(bytes(found.arguments), bytes(wanted.arguments))) is not None:
        message = (
            f"{where} cannot be attached to: it was started with other arguments, which differ at {path}. Choose "
            "another name for another call, or wait for what exists by its name (wait_for_execution)"
        )
    else:
        return
    raise errors.AlreadyExists(message, status=error.status, reason=error.reason) from error


def first_difference(one: bytes, other: bytes) -> str | None:
    """Return where two JSON values differ, as a path such as ``$.targets[2]``; None if they are the same.

    The order of names is not compared, nor how a number is written: API servers write both anew.
    """
    return _difference(msgspec.json.decode(one), msgspec.json.decode(other), "$")


def _difference(one: Json, other: Json, path: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        return _first_of(_in_objects(one, other, path))
    if isinstance(one, list) and isinstance(other, list):
        return _first_of(_in_lists(one, other, path))
    is_same = isinstance(one, bool) == isinstance(other, bool) and one == other
    return None if is_same else path


def _in_objects(one: dict[str, Json], other: dict[str, Json], path: str) -> Iterator[str | None]:
    for key in sorted(one.keys() | other.keys()):
        inside = f"{path}.{key}"
        yield _difference(one[key], other[key], inside) if key in one and key in other else inside


def _in_lists(one: list[Json], other: list[Json], path: str) -> Iterator[str | None]:
    for place, (left, right) in enumerate(zip_longest(one, other, fillvalue=_NOTHING)):
        yield _difference(left, right, f"{path}[{place}]")


def _first_of(found: Iterator[str | None]) -> str | None:
    return next((path for path in found if path is not None), None)
