"""Internal. From whom an Execution descends, by its owner references: one GET per generation.

Asked only for Executions that wait for something that one of their ancestors may hold, by ``controllers.admission`` and
``coordinator.limits``. Siblings ask once.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.meta import PartialObjectMetadata, parent_of
from kontinue.kube import requests
from kontinue.kube.transport import Transport

MAX_REMEMBERED: Final = 1024
"""Parents whose ancestors are remembered. Judgement: 100 KiB."""

_decode: Final = msgspec.json.Decoder(PartialObjectMetadata).decode


class Ancestry:
    """Finds ancestors.

    Args:
        transport: to the API server.
        namespace: of the Executions.
    """

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._known: dict[str, frozenset[str]] = {}
        self._turn = asyncio.Lock()

    async def find(self, parent_name: str, parent_uid: str) -> frozenset[str]:
        """Return the uids of a parent and of all its ancestors.

        Raises:
            ApiError: the server does not answer.
        """
        async with self._turn:  # so that siblings find what the first of them has found
            found = self._known.get(parent_uid)
            if found is None:
                found = await self._climb(parent_name, parent_uid)
                if len(self._known) >= MAX_REMEMBERED:
                    self._known.clear()
                self._known[parent_uid] = found
            return found

    async def _climb(self, name: str, uid: str) -> frozenset[str]:
        found = set[str]()
        while uid not in found:
            found.add(uid)
            try:
                answer = await self._transport.send(requests.get(requests.EXECUTIONS, self._namespace, name))
                meta = _decode(answer).metadata
            except (errors.NotFound, msgspec.MsgspecError):
                break
            parent = parent_of(meta.owner_references)
            if meta.uid != uid or parent is None:
                break
            name, uid = parent.name, parent.uid
        return frozenset(found)
