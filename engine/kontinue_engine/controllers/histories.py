"""Internal. MemoPages of the Executions of this replica: closed before a status is written, read before a replay.

Nothing of a page stays in memory: an Execution that runs, waits or sleeps costs what its status has. Called by
``controllers.execution`` and ``controllers.activations``; ``kube.memo_pages`` knows pages as API objects.
"""

from __future__ import annotations

import asyncio
from typing import Final

from kontinue import errors
from kontinue.api.v1alpha1 import ExecutionStatus
from kontinue.kube.backoff import Backoff
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.runtime import FATAL, Runtime
from kontinue_engine.errors import MemoUnreadableError, PageForbiddenError
from kontinue_engine.kube import memo_pages
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.telemetry.logs import get_logger

FIRST_LOOK_S: Final = 5.0
MAX_LOOK_S: Final = 300.0
"""Between two looks for missing pages, of which each is a list. Judgement: nobody restores one by the second."""

_log = get_logger(__name__)


class Histories:
    """Pages of memos.

    Args:
        runtime: shared tools.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._awaited: set[str] = set()

    async def close_pages(self, entry: Entry, status: ExecutionStatus, memo: MemoBytes) -> None:
        """Create the pages that a status needs which is about to be written.

        Raises:
            PageForbiddenError: one is not allowed. That concerns this Execution, and is tried again.
            ApiError: the server refuses one.
        """
        try:
            for page in memo.closing:
                await memo_pages.create(self._runtime.transport, self._owner(entry, status), page)
        except errors.Forbidden as error:
            raise PageForbiddenError(
                f"no MemoPage can be created, which Execution {entry.name} needs to go on: {error}. Raise the quota of "
                "memopages.kontinue.cloud, or allow the worker's Role to create them"
            ) from error

    def replace_memo(self, entry: Entry, memo: MemoBytes) -> None:
        """Take the memo that was written. If it has given up its pages, they go."""
        has_given_up = entry.memo.pages is not None and memo.pages is None
        entry.memo = memo.written()
        if has_given_up:
            work = memo_pages.delete_older(self._runtime.transport, self._owner(entry, entry.status))
            self._runtime.spawn("", work, name=f"old-pages/{entry.name}")

    async def fetch(self, entry: Entry) -> tuple[MemoBytes | None, str]:
        """Return the whole memo; or None, and what is wrong with it."""
        memo, owner = entry.memo, self._owner(entry, entry.status)
        backoff = Backoff()
        while memo.pages is not None:
            try:
                memo = memo.with_pages(await memo_pages.fetch(self._runtime.transport, owner, memo.pages))
            except (memo_pages.PageMissingError, MemoUnreadableError) as error:
                return None, str(error)
            except FATAL:
                raise
            except errors.ApiError as error:
                _log.warning("history not read", **entry.log_fields, error=str(error))
                await asyncio.sleep(backoff.next_s())
        return memo, ""

    def await_whole(self, entry: Entry) -> None:
        """Look for the missing pages of an Execution until they are there; then it is looked at again. Idempotent."""
        if entry.uid not in self._awaited:
            self._awaited.add(entry.uid)
            self._runtime.spawn(entry.uid, self._await_whole(entry), name=f"missing-pages/{entry.name}")

    async def _await_whole(self, entry: Entry) -> None:
        pause_s = FIRST_LOOK_S
        try:
            while entry in self._runtime.entries and entry.activation is None and not entry.has_history:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_LOOK_S)
                memo, _ = await self.fetch(entry)
                entry.has_history = memo is not None
        finally:
            self._awaited.discard(entry.uid)
        self._runtime.queue.add(entry.uid)

    def _owner(self, entry: Entry, status: ExecutionStatus) -> memo_pages.Owner:
        namespace = self._runtime.scope.namespace
        return memo_pages.Owner(namespace=namespace, name=entry.name, uid=entry.uid, run_epoch=status.run_epoch)
