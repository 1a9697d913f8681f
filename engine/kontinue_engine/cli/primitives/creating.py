"""Internal. ``create`` of the verbs for primitives: says whether it has created an object, or found another one.

The object is sent from here and not by the clients of ``kontinue.sync``, which return the object alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import typer

from kontinue.api import durations
from kontinue.api.meta import ObjectMeta
from kontinue.errors import AlreadyExists
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Resource
from kontinue.sync.objects.stored import RETRY_S
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.options import GlobalOptions, note
from kontinue_engine.cli.primitives.operations import OK, run, say


class Primitive(Protocol):
    """An object with a spec."""

    @property
    def metadata(self) -> ObjectMeta:
        """Its name, and more."""
        ...

    @property
    def spec(self) -> Any:
        """What it is to be."""
        ...


P = TypeVar("P", bound=Primitive)

NewNameArgument = Annotated[str, typer.Argument(metavar="NAME")]
"""The name of what may not exist yet: there is nothing to complete it by."""


def create_object(
    options: GlobalOptions, resource: Resource, wanted: P, fields: Callable[[P], dict[str, object]]
) -> None:
    """Create an object and leave. One that exists is left as it is; if it is another one than is wanted, that is said.

    Args:
        options: of the command line.
        resource: its kind.
        wanted: the object.
        fields: what programs are told of it.
    """
    name = wanted.metadata.name

    async def main() -> int:
        async with connect(options) as connection:
            found, is_new = await create_or_find(connection, resource, wanted)
        for difference in differences(wanted.spec, found.spec):
            note(options, f"{resource.kind} {name} is left as it is: {difference}")
        say(options, resource, name, "created" if is_new else "exists, unchanged", fields(found))
        return OK

    run(main)


def spec_text(length: timedelta | None) -> str:
    """Return a duration as a spec has it; empty for none, and for 0."""
    return durations.format_(length) if length else ""


def differences(wanted: msgspec.Struct, found: msgspec.Struct) -> list[str]:
    """Return in what a spec is another one than is wanted, for people; ``60s`` and ``1m`` are the same. Pure."""
    asked, stored = (msgspec.to_builtins(spec) for spec in (wanted, found))
    return [
        f"{key}: {_text(stored.get(key))}, not {_text(asked.get(key))}"
        for key in sorted(asked.keys() | stored.keys())
        if _value(asked.get(key)) != _value(stored.get(key))
    ]


async def create_or_find(connection: Connection, resource: Resource, wanted: P) -> tuple[P, bool]:
    """Return an object, and whether it is new.

    Raises:
        Invalid: it can be no name.
        ApiError: the server refuses, or was away for too long.
    """
    read, send, name = reader(type(wanted)), connection.transport.send, wanted.metadata.name
    resource.object_path(connection.namespace, name)  # else the server says it, in words of its own
    request = requests.create(resource, connection.namespace, wanted)
    try:
        return read(await send(request, repeatable=True, retry_for_s=RETRY_S)), True
    except AlreadyExists:
        return read(await send(requests.get(resource, connection.namespace, name), retry_for_s=RETRY_S)), False


def _value(stored: object) -> object:
    if isinstance(stored, str):
        with suppress(ValueError):
            return durations.parse(stored)
    return stored


def _text(value: object) -> str:
    return "unset" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
