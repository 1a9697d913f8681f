"""Internal. Cancels children that run elsewhere, and repeats that until the API server has taken it.

Their parent may have ended: then nobody else cancels them before this replica is gone (``coordinator.forsaken`` does
so after that), and a drain waits for it. Called by ``offspring``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping

from kontinue import errors
from kontinue.kube.backoff import Backoff
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.runtime import FATAL, Runtime
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.child_notes import Stage
from kontinue_engine.telemetry.logs import get_logger

_log = get_logger(__name__)


class Cancels:
    """Cancels that are under way; ``len`` counts them.

    Args:
        runtime: shared tools.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._under_way = 0

    def __len__(self) -> int:
        return self._under_way

    def cancel(self, name: str, message: str, *, up_to: Stage) -> None:
        """Cancel one child, unless a later stage of its parent than ``up_to`` has had it retried by then."""
        transport, namespace = self._runtime.transport, self._runtime.scope.namespace
        self._begin(
            lambda: executions.cancel_from_outside(
                transport, namespace=namespace, name=name, message=message, up_to=up_to
            ),
            what={"execution": name},
        )

    def cancel_all(self, parent: Entry, message: str, *, up_to: Stage) -> None:
        """Cancel the live children of an Execution, wherever they are; see ``executions.cancel_children``."""
        transport, namespace = self._runtime.transport, self._runtime.scope.namespace
        self._begin(
            lambda: executions.cancel_children(
                transport,
                namespace=namespace,
                name=parent.name,
                uid=parent.uid,
                message=message,
                up_to=up_to,
            ),
            what={**parent.log_fields, "whom": "its children"},
        )

    def _begin(self, cancel: Callable[[], Coroutine[object, None, None]], *, what: Mapping[str, object]) -> None:
        self._under_way += 1
        self._runtime.spawn("", self._repeat(cancel, what), name=f"cancel/{what['execution']}")

    async def _repeat(self, cancel: Callable[[], Coroutine[object, None, None]], what: Mapping[str, object]) -> None:
        backoff = Backoff()
        try:
            while True:
                try:
                    await cancel()
                except FATAL:
                    raise
                except errors.ApiError as error:
                    _log.warning("not canceled yet", **what, error=str(error))
                    await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
                else:
                    return
        finally:
            self._under_way -= 1
