"""Waits of a client: for the end over the shared watch, for any other phase over a watch of its own.

Called by ``Client.wait_for_execution``, which adds the limit of time. ``judge`` is pure: what an Execution that stopped
a wait means to the one who waited.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.v1alpha1 import ENDED_PHASES, TERMINAL_PHASES, Execution, Phase
from kontinue.client.ended_watch import EndedWatch, has_come_to
from kontinue.client.results import error_of
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.errors import CLOSED
from kontinue.kube.reflector import REFUSALS, Listed, Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

_decode: Final = reader(Execution)


class Target(msgspec.Struct, frozen=True):
    """The Execution that a call is about. Without a uid any of that name is meant.

    ``version`` is a resourceVersion at which it had not ended, if one is known.
    """

    namespace: str
    name: str
    uid: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Waits:
    """All waits of one client: one shared watch per namespace."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._ended: dict[str, EndedWatch] = {}

    async def wait(self, target: Target, wanted: Collection[Phase] | None) -> Execution:
        """Return the Execution when it is in a wanted phase, has ended, or is blocked.

        Raises:
            InvalidState: the client was closed.
            NotFound: it does not exist, or was deleted.
            ApiError: the server refuses to be watched.
        """
        try:
            if wanted is None or all(phase in ENDED_PHASES for phase in wanted):
                return await self._wait_for_end(target, accepts_blocked=Phase.BLOCKED in (wanted or ()))
            return await self._wait_alone(target, {*wanted, *ENDED_PHASES})
        except errors.Unavailable as error:
            if error.reason == CLOSED:
                raise errors.InvalidState("the client was closed during a wait") from error
            raise

    async def _wait_for_end(self, target: Target, *, accepts_blocked: bool) -> Execution:
        """Blocked is no end, and a watch may be late: what it was some time ago is no answer."""
        watch = self._ended.get(target.namespace)
        if watch is None:
            watch = self._ended[target.namespace] = EndedWatch(self._transport, target.namespace)
        version = target.version
        while True:
            found = await watch.wait(target.name, uid=target.uid, version=version)
            if found.phase is not Phase.BLOCKED or accepts_blocked:
                return found
            request = requests.get(requests.EXECUTIONS, target.namespace, target.name)
            found = _decode(await self._transport.send(request))
            if found.phase in ENDED_PHASES:
                return found
            version = found.metadata.resource_version

    def note_retry(self, asked: Execution) -> None:
        """A retry of an Execution was asked for: older news of its end are none."""
        watch = self._ended.get(asked.metadata.namespace)
        if watch is not None:
            watch.note_retry(asked)

    async def close(self) -> None:
        """Close all watches; waits under way raise InvalidState."""
        for watch in self._ended.values():
            await watch.close()
        self._ended.clear()

    async def _wait_alone(self, target: Target, wanted: Collection[Phase]) -> Execution:
        reflector = Reflector(
            self._transport,
            requests.EXECUTIONS,
            target.namespace,
            type_=Execution,
            field_selector=f"metadata.name={target.name}",
            fatal=REFUSALS,
        )
        async with aclosing(reflector.follow()) as stream:
            async for news in stream:
                match news:
                    case Listed(objects=[found]) | Changed(type="ADDED" | "MODIFIED", object=found):
                        if target.uid and found.metadata.uid != target.uid:
                            raise errors.NotFound(f"Execution {target} was deleted and created again", status=404)
                        if has_come_to(found, wanted):
                            return found
                    case Listed() | Changed():
                        raise errors.NotFound(
                            f"no Execution {target.name!r} in namespace {target.namespace!r}", status=404
                        )
                    case _:
                        pass
        raise AssertionError("follow ends only by an error")


def judge(found: Execution, wanted: Collection[Phase] | None) -> Execution:
    """Return what a wait found, if that was what it waited for; ``wanted`` is None for any terminal phase.

    Raises:
        ExecutionBlocked: it is blocked, which was not waited for.
        InvalidState: it ended in another phase.
    """
    phase = found.phase
    if phase in (TERMINAL_PHASES if wanted is None else wanted):
        return found
    blocked = error_of(found) if phase is Phase.BLOCKED else None
    where = f"{found.metadata.namespace}/{found.metadata.name}"
    raise blocked or errors.InvalidState(
        f"Execution {where} is {phase} and will not become {' or '.join(sorted(wanted or TERMINAL_PHASES))}"
    )
