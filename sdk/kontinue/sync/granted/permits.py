"""Permits as clients see them: the object by which one is asked for, and one that is held.

Used by ``semaphore`` and its blocking twin, and by workers, which ask for their Executions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Self

from kontinue import errors
from kontinue.api.konductor.semaphores import Permit, PermitSpec, Semaphore
from kontinue.sync.holding.held import Holding, Keeper
from kontinue.sync.holding.renewing import Term
from kontinue.sync.holding.shielded import shielded
from kontinue.sync.objects.owned import child_meta

SEMAPHORE_LABEL: Final = "semaphore"
"""Documented label of Permits."""


class HeldPermit(Holding):
    """A permit that was granted. As a context manager it is given back at the end of the block, and not renewed.

    Attributes:
        name: of the Permit.
        holder: who has it.
        permit: as it was when it was granted.
        term: how long it lasts, from before it was asked for.
    """

    def __init__(
        self,
        permit: Permit,
        release: Callable[[], Awaitable[bool]],
        renew: Callable[[float], Awaitable[Permit]],
        term: Term,
    ) -> None:
        super().__init__(permit.spec.holder, term)
        self.name = permit.metadata.name
        self.permit = permit
        self.term = term
        self._renew = renew
        self._release = release

    async def release(self) -> bool:
        """Give it back; return whether it was still held: False if it has expired, or was taken away, meanwhile.

        Raises:
            ApiError: the server refuses, or was away for too long.
        """
        return await self._release()

    async def __aenter__(self) -> Self:
        """Hold it."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Give it back.

        Raises:
            InvalidState: the block was successful, but the permit had ended meanwhile: others may have had theirs.
        """
        tries = 0

        async def leave() -> None:
            nonlocal tries
            tries += 1
            if not await self.release() and tries == 1:  # else it was probably given back by what was cut off
                raise _ended(self.permit)

        try:
            await shielded(leave, f"giving back {permit_name(self.permit)}")
        except errors.KontinueError:
            if kind is None:
                raise  # else it ends with its ttl


class PermitScope(Keeper[HeldPermit]):
    """Holds a permit from ``begin`` to ``end``, and renews it meanwhile. ``async with`` it; a loss cancels the body.

    Args:
        take: acquires it.
        keep: renews it until it is lost; returns why.
        on_loss: called once it is lost, before the body is cancelled.
        timeout: as of ``Keeper``.
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[HeldPermit]],
        keep: Callable[[HeldPermit], Awaitable[str]],
        on_loss: Callable[[HeldPermit], object] | None = None,
        *,
        timeout: timedelta | None = None,
    ) -> None:
        super().__init__(on_loss, timeout=timeout)
        self._take = take
        self._keep_up = keep

    async def take(self) -> HeldPermit:
        """Wait for the permit."""
        return await self._take()

    async def keep(self, held: HeldPermit) -> str:
        """Renew it until it is lost; return why."""
        return await self._keep_up(held)

    async def release(self, held: HeldPermit, error: BaseException | None) -> None:
        """Give it back.

        Raises:
            InvalidState: it has ended before.
        """
        del error
        if not await held.release():
            raise _ended(held.permit)

    async def drop(self, held: HeldPermit) -> None:
        """Give it back, whatever became of what it was held for."""
        await held.release()


def _ended(permit: Permit) -> errors.InvalidState:
    return errors.InvalidState(
        f"{permit_name(permit)} has ended before the work that it was for: choose a longer ttl, or bind it to its Pod"
    )


def permit_name(permit: Permit) -> str:
    """Return what a Permit is called in errors."""
    meta = permit.metadata
    return f"Permit {meta.namespace}/{meta.name} of Semaphore {meta.namespace}/{permit.spec.semaphore}"


def new_permit(name: str, semaphore: Semaphore, spec: PermitSpec) -> Permit:
    """Return the object by which somebody asks for a permit."""
    return Permit(metadata=child_meta(semaphore, name, label=SEMAPHORE_LABEL), spec=spec)
