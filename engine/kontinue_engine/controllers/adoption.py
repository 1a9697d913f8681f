"""Internal. Adopts Executions that somebody applied by hand, without labels (design.md section 4).

The worker watches Executions that belong to no worker group. One whose function this group has is labelled,
with its resourceVersion as precondition: the watch of the group then sees it. One whose function nobody has registered
is told so in ``status.waitingFor``. Level-based: every list and every change is looked at anew, and what failed is
tried again with back-off for as long as it belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase, WaitingFor
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.errors import EngineError
from kontinue_engine.kube import executions
from kontinue_engine.kube.functions import find_owner
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.telemetry.logs import get_logger

RETRY_CAP_S: Final = 60.0
"""Longest delay between two tries. Judgement: somebody is waiting, but what fails is mostly a permission."""

_log = get_logger(__name__)


class Adopter:
    """Informer handler and its work, for one worker group.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        owns: tells whether the group has a function.
    """

    def __init__(self, transport: Transport, *, namespace: str, group: str, owns: Callable[[str], bool]) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._owns = owns
        self._unadopted: dict[str, Execution] = {}
        self._failures: dict[str, Backoff] = {}
        self._queue: WorkQueue[str] = WorkQueue()

    def on_list(self, objects: Sequence[Execution], *, initial: bool) -> None:
        """Take the whole selection."""
        del initial
        self._unadopted.clear()
        for execution in objects:
            self.on_event("ADDED", execution)

    def on_event(self, type: EventType, obj: Execution) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        name = obj.metadata.name
        if type == "DELETED" or obj.phase.is_terminal:
            self._unadopted.pop(name, None)
        else:
            self._unadopted[name] = obj
            self._queue.add(name)

    async def run(self) -> None:
        """Adopt until cancelled."""
        while True:
            name = await self._queue.get()
            execution = self._unadopted.get(name)
            try:
                if execution is not None:
                    await self._adopt(execution)
                self._failures.pop(name, None)
            except (errors.ApiError, EngineError) as error:
                delay_s = self._failures.setdefault(name, Backoff(cap_s=RETRY_CAP_S)).next_s()
                uid = execution.metadata.uid if execution is not None else ""
                _log.warning("not adopted", execution=name, uid=uid, error=str(error), retry_in_s=round(delay_s, 3))
                self._queue.add_after(name, delay_s)
            finally:
                self._queue.done(name)

    async def _adopt(self, execution: Execution) -> None:
        meta = execution.metadata
        if self._owns(execution.spec.function):
            wanted = {labels.WORKER_GROUP: self._group, labels.FUNCTION: labels.label_value(execution.spec.function)}
            patch = {"metadata": {"resourceVersion": meta.resource_version, "labels": wanted}}
            try:
                await self._transport.send(requests.merge_patch(requests.EXECUTIONS, self._namespace, meta.name, patch))
            except (errors.Conflict, errors.NotFound):
                return  # it changed: the watch shows it again
            _log.info("adopted", execution=meta.name, uid=meta.uid)
            return
        if await find_owner(self._transport, namespace=self._namespace, function=execution.spec.function) is None:
            await self._say_that_nobody_owns_it(execution)

    async def _say_that_nobody_owns_it(self, execution: Execution) -> None:
        waiting = [WaitingFor(kind="Function", name=execution.spec.function, message="no worker group owns it")]
        if execution.status.waiting_for == waiting:
            return
        await executions.write_status(
            self._transport,
            namespace=self._namespace,
            name=execution.metadata.name,
            uid=execution.metadata.uid,
            version=execution.metadata.resource_version,
            status=msgspec.structs.replace(
                execution.status, phase=execution.status.phase or Phase.PENDING, waiting_for=waiting
            ),
        )
