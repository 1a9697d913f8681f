"""The informer against an API server."""

import asyncio

import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube import requests
from kontinue.kube.requests import EXECUTIONS
from kontinue_engine.kube.informer import Informer


class Store:
    """Handler that keeps the selection, as a controller's store does."""

    def __init__(self):
        self.names = set()
        self.lists = 0

    def on_list(self, objects, *, initial):
        self.lists += 1
        self.names = {obj.metadata.name for obj in objects}

    def on_event(self, type, obj):  # noqa: A002
        if type == "DELETED":
            self.names.discard(obj.metadata.name)
        else:
            self.names.add(obj.metadata.name)


@pytest.fixture
async def transport(api_server):
    """A transport to the server."""
    subject = api_server.transport()
    yield subject
    await subject.close()


async def create(transport, namespace, name, group="g"):
    labels = {"kontinue.cloud/worker-group": group}
    execution = Execution(metadata=ObjectMeta(name=name, labels=labels), spec=ExecutionSpec(function="f"))
    await transport.send(requests.create(EXECUTIONS, namespace, execution))


async def until(condition):
    """Wait for a state of the world, with a deadline."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def followed(transport, api_server):
    """A store that an informer of group g keeps up to date; ``before`` exists already."""
    await create(transport, api_server.namespace, "before")
    await create(transport, api_server.namespace, "foreign", group="other")
    store = Store()
    informer = Informer(
        transport,
        EXECUTIONS,
        api_server.namespace,
        type_=Execution,
        handler=store,
        label_selector="kontinue.cloud/worker-group=g",
        field_selector="status.phase!=Completed",
    )
    running = asyncio.ensure_future(informer.run())
    await informer.synced.wait()
    yield store
    running.cancel()
    await asyncio.wait([running])


async def test_the_store_follows_the_selection(transport, api_server, followed):
    """Creation, deletion, and leaving by a changed field."""
    assert followed.names == {"before"}
    await create(transport, api_server.namespace, "after")
    await create(transport, api_server.namespace, "foreign2", group="other")
    await until(lambda: followed.names == {"before", "after"})
    await transport.send(requests.delete(EXECUTIONS, api_server.namespace, "before"))
    await until(lambda: followed.names == {"after"})
    patch = {"status": {"phase": "Completed"}}
    await transport.send(requests.merge_patch(EXECUTIONS, api_server.namespace, "after", patch, subresource="status"))
    await until(lambda: not followed.names)
    assert followed.lists == 1
