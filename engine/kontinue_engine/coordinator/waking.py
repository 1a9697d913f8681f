"""Internal. Which parents in dead shards need wait no longer, because a child of theirs has ended elsewhere.

What only waits is left in its dead shard for one Lease duration; what could go on is moved first. Watches for
``coordinator.placement``, and only while Executions wait for a shard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kontinue.api.meta import ObjectMeta
from kontinue.kube.transport import Transport
from kontinue_engine.kube.ends_of_children import follow_ends


class Waking:
    """The watch, and when it runs.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        on_woken: told of the uid of each parent, also of those that do not wait here.
    """

    def __init__(self, transport: Transport, *, namespace: str, group: str, on_woken: Callable[[str], None]) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._on_woken = on_woken
        self._is_wanted = False
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """More Executions wait: look, from the beginning, for children of theirs that have ended."""
        self._is_wanted = True
        self._changed.set()

    def end(self) -> None:
        """Nothing waits any more. Idempotent."""
        if self._is_wanted:
            self._is_wanted = False
            self._changed.set()

    async def run(self) -> None:
        """Watch when it is wanted, until cancelled."""
        watch: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if watch is not None:
                    watch.cancel()
                watch = tasks.create_task(self._watch(), name="ends of children") if self._is_wanted else None

    async def _watch(self) -> None:
        ends = follow_ends(self._transport, namespace=self._namespace, group=self._group, on_end=self._on_end)
        await ends.run()

    def _on_end(self, child: ObjectMeta) -> None:
        for owner in child.owner_references:
            self._on_woken(owner.uid)
