"""What contexts need from whoever runs them: two small Protocols, and the facts about the Execution.

``kontinue.context`` and ``kontinue.sync_context`` call a port; ``kontinue_engine.runner`` implements it. A port knows
branches, order and effects; a context knows what users may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from kontinue.replay.branch import Branch
from kontinue.replay.call import Call

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ExecutionInfo:
    """The Execution that runs.

    Attributes:
        attempt: 1 for the first.
        resumption: how often this attempt was re-entered after a crash or an eviction.
        raw_arguments: JSON object of the arguments.
        run_epoch: how often everything was run anew, by ``ctx.continue_as_new`` or a retry of everything.
    """

    name: str
    namespace: str
    uid: str
    function: str
    attempt: int
    resumption: int
    created_at: datetime
    raw_arguments: bytes
    run_epoch: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as plain JSON values."""
        decoded: dict[str, Any] = msgspec.json.decode(self.raw_arguments or b"{}")
        return decoded


class Port(Protocol):
    """What both kinds of activation offer."""

    @property
    def info(self) -> ExecutionInfo:
        """The Execution that runs."""
        ...

    @property
    def now_ms(self) -> int:
        """Time of the latest outcome that the program has seen."""
        ...

    @property
    def is_replaying(self) -> bool:
        """Whether the program repeats what an earlier activation did."""
        ...

    def branch(self) -> Branch:
        """Return the branch of the caller.

        Raises:
            ContextError: called from a step, a foreign thread, task or loop, a callback, or after the end.
        """
        ...

    def child_name(self, call: Call) -> str:
        """Return the name of the child Execution of an open call."""
        ...

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Return the JSON object of arguments of the function that runs.

        Raises:
            InvalidArguments: they do not fit its signature, or JSON, or the limit.
        """
        ...

    def cancel_child(self, call: Call, message: str) -> None:
        """Ask for the child of ``call`` to be canceled; its outcome still arrives."""
        ...


class AsyncPort(Port, Protocol):
    """An activation on a deterministic event loop."""

    def open(self, call: Call) -> None:
        """Give the call its step id: now, in the branch of the caller. Nothing starts yet."""
        ...

    def start_call(self, call: Call) -> asyncio.Future[None]:
        """Request an open call; the future is done when ``call.result()`` may be asked."""
        ...

    async def outcome(self, call: Call) -> Any:
        """Request an open call and return its result. Canceled before that, the call is abandoned."""
        ...

    def abandon(self, call: Call) -> None:
        """Give up a call; nothing happens if it is finished."""
        ...

    def watch(self, coroutine: Coroutine[object, None, T], what: str, line: str) -> Coroutine[object, None, T]:
        """Return ``coroutine``; if it is never awaited, the end of the function names ``what`` and ``line``."""
        ...


class SyncBranch(Protocol):
    """Code that runs as a branch of a sync function."""

    @property
    def is_finished(self) -> bool:
        """Whether the code has ended."""
        ...

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an exception."""
        ...

    def result(self) -> Any:
        """Return what the code returned, or raise what it raised."""
        ...


class SyncPort(Port, Protocol):
    """An activation whose branches are threads that pass a baton."""

    def open(self, call: Call) -> None:
        """Give the call its step id and request it."""
        ...

    def open_last(self, call: Call) -> bool:
        """Like ``open``, also in a branch that was given up; tell whether the caller may wait for the outcome.

        Raises:
            ExecutionInterrupted: the Execution is canceled.
        """
        ...

    def wait(
        self, waitables: Sequence[Call | SyncBranch], *, alarms: Sequence[Call] = (), for_all: bool = False
    ) -> None:
        """Block until one of ``waitables`` or ``alarms`` is finished.

        With ``for_all`` until all waitables are finished, or one has failed, or an alarm is finished.

        Raises:
            ExecutionInterrupted: the Execution is canceled, or this branch was given up.
        """
        ...

    def abandon(self, waitables: Sequence[Call | SyncBranch]) -> None:
        """Give up what is unfinished: calls at once; branches are interrupted and have ended on return."""
        ...

    def fork(self, code: Callable[[], Any]) -> SyncBranch:
        """Run ``code`` as a branch of its own; it starts when the caller waits."""
        ...
