"""One that must give way is waited for in peace, however long it takes."""

from __future__ import annotations

import asyncio

import msgspec

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Suspension, SuspensionKind, SuspensionSpec
from kontinue.kube.requests import Request
from kontinue_engine.kube import suspensions
from suspension_api import SuspensionApi
from virtual_time import virtual_time

OWNER = OwnerReference(api_version=labels.API_VERSION, kind="Execution", name="e", uid="uid-e", controller=True)
WANTED = Suspension(
    metadata=ObjectMeta(name="s", labels={labels.WORKER_GROUP: "g"}, owner_references=[OWNER]),
    spec=SuspensionSpec(execution="e", kind=SuspensionKind.MANUAL),
)


class FinalizedApi(SuspensionApi):
    """What is deleted stays until somebody takes its finalizer away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_finalized = True

    def _answer(self, request: Request) -> bytes:
        assert len(self.sent) < 10_000
        if request.method == "DELETE" and self.is_finalized:
            return b"{}"
        return super()._answer(request)


@virtual_time
async def test_one_that_must_give_way_and_has_a_finalizer_is_not_asked_for_all_the_time() -> None:
    """Whoever has set the finalizer may take hours; once it is gone, the right one is there soon."""
    api = FinalizedApi()
    without_labels = msgspec.structs.replace(WANTED.metadata, labels={}, uid="u-old")
    api.objects["s"] = msgspec.structs.replace(WANTED, metadata=without_labels)
    creating = asyncio.ensure_future(
        suspensions.create_or_find(api, namespace="ns", suspension=WANTED, look_first=True)
    )
    await asyncio.sleep(3600)
    assert not creating.done()
    api.is_finalized = False
    await asyncio.sleep(10)
    assert (await creating).metadata.labels == {labels.WORKER_GROUP: "g"}
