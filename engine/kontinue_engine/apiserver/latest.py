"""Internal. Read-your-writes over a store that several servers share.

What this process holds in memory may be behind what another one has committed. So a request that asks for the latest,
which every write does, first waits until memory has come as far as the store was when the request arrived. Put in front
of the router by ``kontinue_engine.apiserver.server``, and only where the store is shared: a store of one process is
never ahead of its memory.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, Final

from kontinue_engine.apiserver import router, statuses
from kontinue_engine.apiserver.http.http_protocol import Answer, Application, Request
from kontinue_engine.apiserver.objects.object_store import ObjectStore

_NAMES_REVISION: Final = re.compile("(?:^|&)resourceVersion=[^&]")


class LatestRouter:
    """Answers requests as ``application`` does, once memory has caught up."""

    def __init__(self, application: Application, store: ObjectStore) -> None:
        self._application = application
        self._store = store

    def __call__(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer at once what names the revision that it wants; anything else after catching up."""
        if request.method == "GET" and _NAMES_REVISION.search(request.query):
            return self._application(request)
        return self._answer(request)

    async def _answer(self, request: Request) -> Answer:
        try:
            await self._store.catch_up()
        except statuses.StatusError as error:
            return router.error_response(error)
        answer = self._application(request)
        return answer if isinstance(answer, Answer) else await answer
