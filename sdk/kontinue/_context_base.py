"""What both contexts share: facts about the Execution, time, identity, randomness and logging, all replay-safe."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import CodeType
from typing import Any, Final, Generic, NoReturn, TypeVar
from uuid import UUID

from kontinue.durable_timeout import DurableTimeout
from kontinue.errors import ContextError, ContinueAsNew
from kontinue.ports import ExecutionInfo, Port

PortT = TypeVar("PortT", bound=Port)
T = TypeVar("T")
CoroutineFunction = TypeVar("CoroutineFunction", bound=Callable[..., Coroutine[Any, Any, Any]])

CONTEXT_COROUTINES: Final[set[CodeType]] = set()
"""Code of the coroutines that context calls return: a task that only wraps one belongs to its creator's branch."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def context_coroutine(function: CoroutineFunction) -> CoroutineFunction:
    """Mark a coroutine function as part of the context."""
    CONTEXT_COROUTINES.add(function.__code__)
    return function


@context_coroutine
async def waited(aw: Awaitable[T], limit: timedelta | None, what: str = "ctx.wait_for") -> T:
    """Return what ``aw`` returns, or raise WaitTimeout after ``limit``."""
    async with DurableTimeout(limit, what):
        return await aw


class ReplayLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that is silent while the function repeats what it did before."""

    def __init__(self, logger: logging.Logger, port: Port) -> None:
        super().__init__(logger, {})
        self._port = port

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Tell whether a message of ``level`` would be written now."""
        return not self._port.is_replaying and super().isEnabledFor(level)


class ContextBase(Generic[PortT]):
    """Attributes and methods that need no waiting."""

    def __init__(self, port: PortT) -> None:
        self._port = port
        self._randoms: dict[str, random.Random] = {}
        self.execution: ExecutionInfo = port.info
        """The Execution: name, namespace, uid, function, created_at, attempt, resumption, run_epoch, arguments."""
        self.attempt: int = port.info.attempt
        """1 for the first."""
        self.resumption: int = port.info.resumption
        """How often this attempt was entered again after a crash or an eviction."""
        self.idempotency_key: str = port.info.uid
        """The same in every attempt and replay of this Execution."""
        self.log: logging.LoggerAdapter[logging.Logger] = ReplayLogger(
            logging.getLogger(f"kontinue.function.{port.info.function}"), port
        )
        """A logger that is silent on replay; its lines tell Execution, attempt and step."""

    def now(self) -> datetime:
        """Return the time of the latest outcome that this function has seen; use it instead of ``datetime.now``."""
        return _EPOCH + timedelta(milliseconds=self._port.now_ms)

    def uuid(self) -> UUID:
        """Return a new UUID, the same in every replay."""
        return UUID(bytes=self._seed(self._port.branch().next_draw()), version=4)

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same in every replay; each branch has its own sequence."""
        branch = self._port.branch().id
        if branch not in self._randoms:
            self._randoms[branch] = random.Random(self._seed(f"random {branch}"))  # noqa: S311
        return self._randoms[branch]

    def continue_as_new(self, *args: Any, **kwargs: Any) -> NoReturn:
        """End this run and start the function again with new arguments, as the same Execution, with an empty history.

        For loops without an end: what a run has recorded is forgotten, its children that still live are canceled.

        Raises:
            InvalidArguments: the arguments do not fit the function's signature.
            ContextError: called in a branch or another task than the function's own.
            ContinueAsNew: always; let it pass.
        """
        if self._port.branch().id:
            raise ContextError("ctx.continue_as_new() ends the whole function: call it in the function's own task")
        raise ContinueAsNew(self._port.encode_arguments(args, kwargs))

    def _seed(self, what: str) -> bytes:
        info = self._port.info
        run = f"{info.uid}\0{info.run_epoch}" if info.run_epoch else info.uid
        return hashlib.blake2b(f"{run}\0{what}".encode(), digest_size=16).digest()
