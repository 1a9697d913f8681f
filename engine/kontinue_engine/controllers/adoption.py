"""Internal. Adopts Executions that somebody applied by hand, without labels (design.md section 4).

The worker watches Executions that belong to no worker group. One whose function this app has is labelled,
with its resourceVersion as precondition: the watch of the group then sees it. One whose function nobody has registered
is told so in ``status.waitingFor``. Level-based: every list and every change is looked at anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase, WaitingFor
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.controllers import children, status_writer
from kontinue_engine.telemetry.logs import get_logger

UNADOPTED_SELECTOR: Final = f"!{labels.WORKER_GROUP}"
"""Label selector of what belongs to no worker group."""

_log = get_logger(__name__)


class Adopter:
    """Informer handler and its work, for one worker group."""

    def __init__(self, transport: Transport, *, namespace: str, group: str, functions: frozenset[str]) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._functions = functions
        self._found: asyncio.Queue[Execution] = asyncio.Queue()

    def on_list(self, objects: Sequence[Execution], *, initial: bool) -> None:
        """Take the whole selection."""
        del initial
        for execution in objects:
            self.on_event("ADDED", execution)

    def on_event(self, type: EventType, obj: Execution) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type != "DELETED" and not obj.phase.is_terminal:
            self._found.put_nowait(obj)

    async def run(self) -> None:
        """Adopt until cancelled."""
        while True:
            execution = await self._found.get()
            try:
                await self._adopt(execution)
            except errors.ApiError as error:
                _log.warning("not adopted", execution=execution.metadata.name, error=str(error))

    async def _adopt(self, execution: Execution) -> None:
        meta = execution.metadata
        if execution.spec.function in self._functions:
            wanted = {labels.WORKER_GROUP: self._group, labels.FUNCTION: labels.label_value(execution.spec.function)}
            patch = {"metadata": {"resourceVersion": meta.resource_version, "labels": wanted}}
            try:
                await self._transport.send(requests.merge_patch(requests.EXECUTIONS, self._namespace, meta.name, patch))
            except (errors.Conflict, errors.NotFound):
                return  # it changed: the watch shows it again
            _log.info("adopted", execution=meta.name, uid=meta.uid, group=self._group)
            return
        if not await self._is_owned(execution.spec.function):
            await self._say_that_nobody_owns_it(execution)

    async def _is_owned(self, function: str) -> bool:
        try:
            await children.find_group(self._transport, namespace=self._namespace, function=function)
        except children.ChildRejectedError:
            return False
        return True

    async def _say_that_nobody_owns_it(self, execution: Execution) -> None:
        waiting = [WaitingFor(kind="Function", name=execution.spec.function, message="no worker group owns it")]
        if execution.status.waiting_for == waiting:
            return
        await status_writer.write_status(
            self._transport,
            namespace=self._namespace,
            name=execution.metadata.name,
            uid=execution.metadata.uid,
            version=execution.metadata.resource_version,
            status=msgspec.structs.replace(
                execution.status, phase=execution.status.phase or Phase.PENDING, waiting_for=waiting
            ),
        )
