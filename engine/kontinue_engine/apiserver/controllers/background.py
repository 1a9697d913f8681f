"""Internal. What the controllers have in common: keys that wait for their turn, deleting many objects, refusals.

Each controller is level-based: it is told of changes, puts keys in line, and judges a key by what is stored when its
turn has come. Called by ``garbage_collector``, ``namespaces`` and ``crd_controller``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http.requests import Target, WriteOptions
from kontinue_engine.apiserver.objects.deletion import DeleteOptions
from kontinue_engine.apiserver.objects.object_store import Entry
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.resources import ResourceInfo

_log: Final = logging.getLogger(__name__)
BATCH_OBJECTS: Final = 64
"""Judgement: dealt with at once, so that their writes share a commit and other requests get their turn."""
RETRY_S: Final = 1.0
PLAIN_WRITE: Final = WriteOptions(is_dry_run=False, field_validation="Ignore")
_NORMAL_REFUSALS: Final = frozenset({404, 409})
"""It went, or changed: judged anew when that is told of."""


class Line:
    """Keys in the order in which they came, each once."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._wake = asyncio.Event()

    def add(self, keys: Iterable[str]) -> None:
        """Put ``keys`` in line; those that wait already keep their place."""
        self._keys.update(dict.fromkeys(keys))
        if self._keys:
            self._wake.set()

    async def take(self, most: int = 1) -> list[str]:
        """Wait until there is a key, and return the first ones."""
        while not self._keys:
            self._wake.clear()
            await self._wake.wait()
        taken = [key for key, _ in zip(self._keys, range(most), strict=False)]
        for key in taken:
            del self._keys[key]
        return taken


async def delete_all(writer: Writer, resource: ResourceInfo, entries: Sequence[Entry]) -> None:
    """Delete ``entries``; fine if one has gone.

    Raises:
        StatusError: one could not be deleted.
    """

    async def delete(entry: Entry) -> None:
        target = Target(resource, entry.namespace, entry.name, "")
        try:
            await writer.delete_object(target, DeleteOptions(propagation="Background"))
        except statuses.StatusError as error:
            if error.code != 404:
                raise

    for start in range(0, len(entries), BATCH_OBJECTS):
        await asyncio.gather(*map(delete, entries[start : start + BATCH_OBJECTS]))


def log_refusal(controller: str, key: str, error: statuses.StatusError) -> None:
    """Log that the server refused a write of its own: what was to be done is not done. Not what is normal.

    Args:
        controller: whose write it was.
        key: what it was dealing with; the object is named by the message.
        error: the refusal.
    """
    if 400 <= error.code < 500 and error.code not in _NORMAL_REFUSALS:
        said = {"controller": controller, "key": key, "code": error.code, "error": error.message}
        _log.warning("own write refused", extra=said)
