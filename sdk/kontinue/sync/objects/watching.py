"""One object as it changes: the one place that follows one. Called by all who wait for what an object becomes.

``followed`` shares it among those who look at the same object, ``wait_groups.following`` among those who wait for it.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import msgspec

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.reflector import REFUSALS, HasMetadata, Listed, Reflector
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

T = TypeVar("T", bound=HasMetadata)


class Gone(enum.Enum):
    """That there is no object."""

    DELETED = "it was seen to be deleted"
    MISSING = "there is none, or none any more: what became of it was not seen"


class _Undecoded(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None


_decode_list: Final = reader(_Undecoded, what="list")


async def states(
    transport: Transport, resource: Resource, namespace: str, name: str, type_: type[T]
) -> AsyncGenerator[T | Gone, None]:
    """Yield an object as it is, and again whenever it has changed; or that it is gone.

    Raises:
        ApiError: the server refuses to be watched; or the object cannot be read, as it is of another version.
    """
    selector = f"metadata.name={name}"
    reflector = Reflector(transport, resource, namespace, type_=type_, field_selector=selector, fatal=REFUSALS)
    async with aclosing(reflector.follow()) as stream:
        async for news in stream:
            match news:
                case Listed(objects=[one, *_]) | Changed(type="ADDED" | "MODIFIED", object=one):
                    yield one
                case Listed():
                    # What cannot be read is left out there. Not a GET: who may watch may list.
                    request = requests.list_objects(resource, namespace, field_selector=selector)
                    found = _decode_list(await transport.send(request)).items
                    yield reader(type_)(bytes(found[0])) if found else Gone.MISSING
                case Changed(type="DELETED"):
                    yield Gone.DELETED
                case _:
                    pass


async def listed(transport: Transport, resource: Resource, namespace: str, name: str, type_: type[T]) -> T:
    """Return an object as it is now; asks for no other right than to list, as who watches it has.

    Raises:
        NotFound: there is none.
        ApiError: the server refuses.
    """
    async with aclosing(states(transport, resource, namespace, name, type_)) as found:
        async for state in found:
            if not isinstance(state, Gone):
                return state
            break
    raise missing(resource, namespace, name)


async def shown(
    transport: Transport, resource: Resource, namespace: str, name: str, type_: type[T], show: Callable[[T], object]
) -> None:
    """Show an object as it is, and again whenever it has changed, while it can be watched and is there.

    For those who only tell people: who may not watch it, by an older Role for one, tells them nothing.
    """
    async with aclosing(states(transport, resource, namespace, name, type_)) as found:
        while True:
            try:
                one = await anext(found)
            except (StopAsyncIteration, errors.ApiError):
                return
            if isinstance(one, Gone):
                return
            show(one)


def gone(resource: Resource, namespace: str, name: str, how: str) -> errors.NotFound:
    """Return the error of who looks at an object that was there."""
    return errors.NotFound(f"{resource.kind} {namespace}/{name} {how}", status=404, reason="NotFound")


def missing(resource: Resource, namespace: str, name: str) -> errors.NotFound:
    """Return the error of who looks at an object that may never have been there."""
    what = f"{resource.kind} {namespace}/{name}"
    return errors.NotFound(f"there is no {what}, or not any more", status=404, reason="NotFound")


def not_looked_after(what: str, namespace: str) -> errors.WaitTimeout:
    """Return the error of who has waited for what a coordinator decides, and has seen nothing of one."""
    there = "" if namespace == "default" else f" -n {namespace}"
    return errors.WaitTimeout(
        f"no coordinator has looked after {what}: does one run? `kontinue doctor{there}` tells; "
        f"`kontinue coordinator run{there}` or the chart kontinue-coordinator brings one"
    )


def version(one: HasMetadata) -> int:
    """Return which version of an object this is: newer ones have higher numbers."""
    text = one.metadata.resource_version
    return int(text) if text.isdecimal() else 0
