"""Internal. Children in other shards or groups: looked for now and then, lest a parent waits for one that was deleted.

How they end is shown by a watch (``offspring``). A deletion is not: what is gone has no phase to be selected by, and
whoever ran it may be gone, too. So it is with a child that has ended and of which its parent has asked for a retry:
until that begins nobody has it. Costs one list a minute while parents here wait for such children, else nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import PartialObjectMetadata
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Execution
from kontinue.kube import requests
from kontinue.kube.reflector import Reflector
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.errors import EngineError
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import is_asked_by_parent
from kontinue_engine.telemetry.logs import get_logger

LOOK_S: Final = 60.0
"""Between two lists. Judgement: a person who deletes a child waits no longer for what follows."""

_log = get_logger(__name__)


class AwayChild(msgspec.Struct, frozen=True):
    """A child that exists, and does not run here, or not yet again."""

    name: str
    uid: str
    parent_uid: str


class Abroad:
    """Children that parents of this replica wait for, and that run elsewhere, or are to be retried.

    Args:
        runtime: shared tools.
        on_missing: told of a parent and its child that does not live any more: how it ended, or None if it is gone.
        look_s: seconds between two lists.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        on_missing: Callable[[Entry, AwayChild, Execution | None], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._runtime = runtime
        self._on_missing = on_missing
        self._look_s = look_s
        self._children: dict[str, AwayChild] = {}

    def add(self, child: AwayChild) -> None:
        """Look after a child that was created or found elsewhere, was moved there, or is to be retried."""
        self._children[child.name] = child

    def discard(self, name: str) -> None:
        """Nobody waits for the child any more."""
        self._children.pop(name, None)

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.look()

    async def look(self) -> None:
        """Look after them once; what fails is tried again the next time."""
        self._children = {child.name: child for child in self._children.values() if self._is_awaited(child)}
        away = [child for child in self._children.values() if self._runtime.entries.get(child.uid) is None]
        try:
            if away:
                await self._find(away)
        except (errors.ApiError, EngineError) as error:
            _log.warning("children elsewhere not looked for", error=str(error))

    def _is_awaited(self, child: AwayChild) -> bool:
        parent = self._runtime.entries.get(child.parent_uid)
        return parent is not None and parent.awaits(child.name)

    async def _find(self, awaited: list[AwayChild]) -> None:
        runtime = self._runtime
        listed = Reflector(
            runtime.transport,
            requests.EXECUTIONS,
            runtime.scope.namespace,
            type_=PartialObjectMetadata,
            label_selector=f"{labels.PARENT_GROUP}={runtime.scope.group}",
            field_selector=LIVE_PHASES_SELECTOR,
            only_metadata=True,
        )
        live = {child.metadata.uid for child in (await listed.fetch()).objects}
        for child in awaited:
            if child.uid not in live and self._is_awaited(child):
                await self._ask(child)

    async def _ask(self, child: AwayChild) -> None:
        runtime = self._runtime
        found = await executions.read_execution(runtime.transport, namespace=runtime.scope.namespace, name=child.name)
        if found is not None and found.metadata.uid != child.uid:
            found = None
        parent = runtime.entries.get(child.parent_uid)
        has_ended = found is None or (found.phase.is_terminal and not is_asked_by_parent(found))
        if parent is not None and has_ended:
            self._on_missing(parent, child, found)
