"""What ``Client.spawn`` returns: the name of an Execution, and a typed way to its result."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from kontinue.api.v1alpha1 import Execution
from kontinue.client.results import read_result

R_co = TypeVar("R_co", covariant=True)


class Wait(Protocol):
    """``Client.wait_for_execution``, as far as a handle needs it."""

    def __call__(
        self, execution: ExecutionHandle[Any], *, timeout: timedelta | None = None
    ) -> Coroutine[Any, Any, Execution]:
        """Wait for the end."""
        ...


class ExecutionHandle(Generic[R_co]):
    """An Execution that this client spawned or attached to.

    Attributes:
        name: its name.
        namespace: its namespace.
        uid: tells it from a later one of the same name.
        resource_version: version of the object when the handle was made.
    """

    __slots__ = ("_decode", "_wait", "name", "namespace", "resource_version", "uid")

    def __init__(
        self,
        *,
        name: str,
        namespace: str,
        uid: str,
        resource_version: str,
        wait: Wait,
        decode: Callable[[bytes], R_co],
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.uid = uid
        self.resource_version = resource_version
        self._wait = wait
        self._decode = decode

    async def wait(self, *, timeout: timedelta | None = None) -> Execution:  # noqa: ASYNC109 - part of the API
        """Wait for the end, whatever it is, and return the Execution.

        Raises:
            ExecutionBlocked: the code no longer matches its records.
            WaitTimeout: it has not ended within ``timeout``; it goes on.
            NotFound: it was deleted.
        """
        return await self._wait(self, timeout=timeout)

    async def result(self, *, timeout: timedelta | None = None) -> R_co:  # noqa: ASYNC109 - part of the API
        """Wait for the end and return the result.

        Raises:
            ExecutionFailed, ExecutionCanceled: it ended otherwise.
            ResultDecodeError: the result is not of the declared type.
            ExecutionBlocked, WaitTimeout, NotFound: see ``wait``.
        """
        return read_result(await self.wait(timeout=timeout), self._decode)

    def __repr__(self) -> str:
        return f"<ExecutionHandle {self.namespace}/{self.name}>"
