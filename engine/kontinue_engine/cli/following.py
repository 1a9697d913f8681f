"""Internal. Follows an Execution to its end while showing its tree; and says how it ended.

Used by ``execute``, ``tree -w`` and ``wait``. What is followed is never changed: leaving by Ctrl-C or a timeout lets it
go on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import aclosing
from datetime import timedelta

from kontinue.api.v1alpha1 import ENDED_PHASES, Execution, Phase
from kontinue.client.ended_watch import has_come_to
from kontinue.client.tree import ExecutionTree
from kontinue.errors import ApiError, NotFound, Unavailable
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.causes import explain_cause, split_mismatch, ways_out
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.options import GlobalOptions
from kontinue_engine.cli.progress import Progress
from kontinue_engine.cli.text import format_duration, indent

_REDRAW_S = 0.1
_IDLE_S = 0.5


async def follow(
    connection: Connection,
    name: str,
    progress: Progress,
    *,
    until: Collection[Phase] = ENDED_PHASES,
    limit: timedelta | None = None,
) -> Execution:
    """Show the tree until its root is in one of the phases; return the root then.

    A limit of nothing, or less, looks once.

    Raises:
        TimeoutError: it took longer than ``limit``.
        NotFound: there is no such Execution, or it was deleted meanwhile.
    """
    try:
        if limit is not None and limit <= timedelta():
            return await _look(connection, name, progress, until)
        async with asyncio.timeout(None if limit is None else limit.total_seconds()):
            outage = Outage(progress, connection.answers)
            async with aclosing(_trees(connection, name, outage)) as trees:
                async for tree in trees:
                    progress.show(tree)
                    execution = tree.root.execution
                    if execution is not None and has_come_to(execution, until):
                        # Its children come by another watch, which may be a moment behind.
                        progress.show(await connection.client.get_tree(name))
                        return execution
                    await asyncio.sleep(_REDRAW_S)
    finally:
        progress.close()
    raise NotFound(f"Execution {name!r} was deleted from namespace {connection.namespace}", status=404)


async def _look(connection: Connection, name: str, progress: Progress, until: Collection[Phase]) -> Execution:
    tree = await connection.client.get_tree(name)
    progress.show(tree)
    if tree.root.execution is None or not has_come_to(tree.root.execution, until):
        raise TimeoutError
    return tree.root.execution


class Outage:
    """Says once that the server is away, and once that it is back."""

    def __init__(self, progress: Progress, answers: Callable[[], Coroutine[None, None, bool]]) -> None:
        self._progress = progress
        self._answers = answers
        self._is_away = False
        self._past: ApiError | None = None

    async def note(self, error: ApiError | None) -> None:
        """Take why the watch does not get on at the moment; None while it does."""
        if not self._is_away:
            if isinstance(error, Unavailable) and error is not self._past:
                self._is_away = True
                self._progress.say("The server is away: waiting for it. The Execution goes on when it is back.")
        elif error is None or await self._answers():  # the watch itself notices only when something changes
            self._is_away = False
            self._past = error
            self._progress.say("The server is back.")


async def _trees(connection: Connection, name: str, outage: Outage) -> AsyncGenerator[ExecutionTree, None]:
    """Yield the tree when it has changed, and the same again now and then so that running times go on."""
    watcher = connection.client.watch_tree(name, namespace=connection.namespace)
    async with watcher:
        states = aiter(watcher)
        latest: ExecutionTree | None = None
        coming = asyncio.ensure_future(anext(states, None))
        try:
            while True:
                await asyncio.wait([coming], timeout=_IDLE_S)
                await outage.note(watcher.last_error)
                if coming.done():
                    latest = coming.result()
                    if latest is None:
                        return
                    coming = asyncio.ensure_future(anext(states, None))
                if latest is not None:
                    yield latest
        finally:
            coming.cancel()


def explain_end(execution: Execution, *, flags: str) -> str:
    """Return why the Execution did not complete and what to do; empty if it did.

    Args:
        execution: it.
        flags: global options to repeat in the commands that are suggested.
    """
    status, name = execution.status, execution.metadata.name
    phase = execution.phase
    if phase in {Phase.COMPLETED, Phase.SKIPPED}:
        return ""
    attempt = status.attempts[-1] if status.attempts else None
    error = attempt.error if attempt else None
    reason = status.reason or (attempt.reason if attempt else "")
    message = split_mismatch(status.message or (attempt.message if attempt else "")) or "no message"
    lines = [f"Execution {name} is {phase.value}{f' ({reason})' if reason else ''}: {message}"]
    if error and error.traceback:
        lines.append(indent(error.traceback, "    "))
    if error and (cause := explain_cause(execution, error, flags=flags)):
        lines.append(cause)
    if phase is Phase.BLOCKED:
        lines.append(ways_out(name, flags))
    lines.append(f"More: kontinue describe {name}{flags}")
    return "\n".join(lines)


def say_detached(options: GlobalOptions, name: str, namespace: str) -> int:
    """Say on stderr that the Execution goes on, and how to watch or cancel it; return the exit code of Ctrl-C.

    ``namespace`` is empty where it is what the command line finds by itself.
    """
    flags = options.flags() if options.namespace or not namespace else f" -n {namespace}{options.flags()}"
    print(
        f"\nDetached: {name} goes on. Watch it: kontinue tree -w {name}{flags}\nStop it: kontinue cancel {name}{flags}",
        file=sys.stderr,
    )
    return exit_codes.DETACHED


def say_timeout(options: GlobalOptions, name: str, timeout: timedelta) -> int:
    """Say on stderr that the time is up and that the Execution goes on; return the exit code."""
    within = f" within {format_duration(timeout)}" if timeout else ""
    print(
        f"timeout: {name} has not ended{within} and goes on. Watch it: kontinue tree -w {name}{options.flags()}",
        file=sys.stderr,
    )
    return exit_codes.TIMEOUT
