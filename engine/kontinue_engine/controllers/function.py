"""Internal. Registers the app's functions as Function objects, by compare-and-swap.

Called once by ``worker`` at start-up. Functions that the app no longer has are left alone: pruning needs to know that
every replica of the group runs this build.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionConcurrency, FunctionDefaults, FunctionSpec
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.naming import dns_name
from kontinue_engine.errors import FunctionOwnedError
from kontinue_engine.wire.frames import FunctionDescription

_decode: Final = msgspec.json.Decoder(Function).decode
_encode: Final = msgspec.json.Encoder().encode


async def register_functions(
    transport: Transport, *, namespace: str, group: str, functions: Sequence[FunctionDescription]
) -> None:
    """Create or replace the Function object of each function.

    Raises:
        FunctionOwnedError: another worker group has registered one of them.
        ApiError: the server refuses; ``NotFound`` means that namespace or CRDs are missing.
    """
    for description in functions:
        await _register(transport, namespace, build_function(description, group=group))


def build_function(description: FunctionDescription, *, group: str) -> Function:
    """Return the object for one function of the app."""
    return Function(
        metadata=ObjectMeta(
            name=dns_name(description.name),
            labels={labels.WORKER_GROUP: group},
            annotations={labels.HIDDEN: "true"} if description.hidden else {},
        ),
        spec=FunctionSpec(
            name=description.name,
            worker_group=group,
            description=description.description,
            arguments=msgspec.Raw(description.arguments_schema) if description.arguments_schema else msgspec.UNSET,
            result=msgspec.Raw(description.result_schema) if description.result_schema else msgspec.UNSET,
            defaults=msgspec.json.decode(description.defaults, type=FunctionDefaults) if description.defaults else None,
            concurrency=FunctionConcurrency(limit=description.limit) if description.limit else None,
        ),
    )


async def _register(transport: Transport, namespace: str, function: Function) -> None:
    name = function.metadata.name
    while True:
        try:
            stored = _decode(await transport.send(requests.get(requests.FUNCTIONS, namespace, name)))
        except errors.NotFound:
            try:
                await transport.send(requests.create(requests.FUNCTIONS, namespace, function), repeatable=True)
            except errors.AlreadyExists:
                continue
            return
        if stored.spec.worker_group != function.spec.worker_group:
            raise FunctionOwnedError(
                function=function.spec.name, owner=stored.spec.worker_group, group=function.spec.worker_group
            )
        if _is_same(stored, function):
            return
        meta = msgspec.structs.replace(
            stored.metadata,
            labels={**stored.metadata.labels, **function.metadata.labels},
            annotations=_annotations(stored, function),
        )
        replacement = msgspec.structs.replace(function, metadata=meta)
        try:
            await transport.send(requests.replace(requests.FUNCTIONS, namespace, name, replacement))
        except (errors.Conflict, errors.NotFound):
            continue
        return


def _annotations(stored: Function, function: Function) -> dict[str, str]:
    kept = {key: value for key, value in stored.metadata.annotations.items() if key != labels.HIDDEN}
    return {**kept, **function.metadata.annotations}


def _is_same(stored: Function, wanted: Function) -> bool:
    return (
        msgspec.json.decode(_encode(stored.spec)) == msgspec.json.decode(_encode(wanted.spec))
        and wanted.metadata.labels.items() <= stored.metadata.labels.items()
        and _annotations(stored, wanted) == stored.metadata.annotations
    )
