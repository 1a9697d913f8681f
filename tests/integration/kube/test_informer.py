"""Informer and Lease against the local API server."""

import asyncio

import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
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
async def transport(local_server):
    """A transport to the local server."""
    subject = KubeTransport(KubeConfig(server=local_server.url, token=local_server.token), user_agent="tests")
    yield subject
    await subject.close()


async def create(transport, name, group="g"):
    labels = {"kontinue.cloud/worker-group": group}
    execution = Execution(metadata=ObjectMeta(name=name, labels=labels), spec=ExecutionSpec(function="f"))
    await transport.send(requests.create(EXECUTIONS, "default", execution))


async def until(condition):
    """Wait for a state of the world, with a deadline."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def followed(transport):
    """A store that an informer of group g keeps up to date; ``before`` exists already."""
    await create(transport, "before")
    await create(transport, "foreign", group="other")
    store = Store()
    informer = Informer(
        transport,
        EXECUTIONS,
        "default",
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


async def test_the_store_follows_the_selection(transport, followed):
    """Creation, deletion, and leaving by a changed field."""
    assert followed.names == {"before"}
    await create(transport, "after")
    await create(transport, "foreign2", group="other")
    await until(lambda: followed.names == {"before", "after"})
    await transport.send(requests.delete(EXECUTIONS, "default", "before"))
    await until(lambda: followed.names == {"after"})
    patch = {"status": {"phase": "Completed"}}
    await transport.send(requests.merge_patch(EXECUTIONS, "default", "after", patch, subresource="status"))
    await until(lambda: not followed.names)
    assert followed.lists == 1
