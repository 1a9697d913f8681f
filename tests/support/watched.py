"""Reading as many events of a watch as are expected, however long they take to come."""

from __future__ import annotations

import contextlib
from typing import Any

from api import PATIENCE_S, Api


async def events_of(api: Api, path: str, count: int, **headers: str) -> list[Any]:
    """Return the first ``count`` events of a watch; ``path`` carries ``watch=true`` and the rest, but no timeout."""
    found = []
    async with contextlib.aclosing(api.watch(f"{path}&timeoutSeconds={PATIENCE_S:g}", **headers)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found
