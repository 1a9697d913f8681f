"""Permits as clients see them: the object by which one is asked for, and one that is held. Used by ``semaphore``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Self

from kontinue import errors
from kontinue.api.konductor.semaphores import Permit, PermitSpec, Semaphore
from kontinue.sync.asking import child_meta

SEMAPHORE_LABEL: Final = "semaphore"
"""Documented label of Permits."""


class HeldPermit:
    """A permit that was granted. As a context manager it is given back at the end of the block.

    Attributes:
        name: of the Permit.
        holder: who has it.
        permit: as it was when it was granted.
    """

    def __init__(self, permit: Permit, release: Callable[[], Awaitable[bool]]) -> None:
        self.name = permit.metadata.name
        self.holder = permit.spec.holder
        self.permit = permit
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
        # Whoever is cancelled here, once more maybe, still gives it back.
        ending = asyncio.ensure_future(self.release())
        if kind is not None:
            with contextlib.suppress(errors.KontinueError):  # then it ends with its ttl
                await asyncio.shield(ending)
        elif not await asyncio.shield(ending):
            raise errors.InvalidState(
                f"Permit {self.permit.metadata.namespace}/{self.name} has ended before the work that it was for: "
                "choose a longer ttl, or bind it to its Pod"
            )


def new_permit(name: str, semaphore: Semaphore, spec: PermitSpec) -> Permit:
    """Return the object by which somebody asks for a permit."""
    return Permit(metadata=child_meta(semaphore, name, label=SEMAPHORE_LABEL), spec=spec)
