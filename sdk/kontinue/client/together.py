"""Coroutines that run together, and end together: ``asyncio.gather`` lets the others go on when one has failed.

Called where several requests are sent at once, by ``kontinue.client.tree_reading`` and the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what each of them returns, in their order.

    Raises:
        Exception: what the first one that failed has raised, as it is; the others are canceled, and have ended.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one, name=f"together, {number}") for number, one in enumerate(coroutines)]
    except ExceptionGroup as failed:
        first = failed.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise first  # here it keeps its own cause, and gets no other
