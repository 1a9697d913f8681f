"""Registration of functions by several worker groups against an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from api_server import ApiServer
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Event, ObjectList, PartialObjectMetadata
from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.function import TAKEN_OVER, FunctionController
from kontinue_engine.errors import FunctionOwnedError
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.wire.frames import FunctionDescription
from polling import eventually

pytestmark = pytest.mark.slow


def description(name: str, *, text: str = "", hidden: bool = False) -> FunctionDescription:
    return FunctionDescription(
        name=name, description=text, is_async=False, takes_context=False, hidden=hidden, arguments_schema=b"{}"
    )


class World:
    """An API server, and the replicas of groups that register functions there."""

    def __init__(self, server: ApiServer, transport: KubeTransport) -> None:
        self.transport = transport
        self.namespace = server.namespace
        self.events = EventRecorder(transport, component="test", instance="test", clock=SystemClock())

    def replica(self, group: str, *functions: FunctionDescription | str) -> FunctionController:
        """Return a replica whose app has those functions."""
        described = [description(one) if isinstance(one, str) else one for one in functions]
        return FunctionController(
            self.transport, self.events, namespace=self.namespace, group=group, functions=described
        )

    async def register(self, group: str, *functions: FunctionDescription | str, take_over: bool = False) -> None:
        """Start a replica with those functions."""
        await self.replica(group, *functions).register(take_over=take_over)

    @asynccontextmanager
    async def following(self, controller: FunctionController, group: str) -> AsyncIterator[None]:
        """Let a replica watch the Functions of its group, and see to its own."""
        informer = Informer(
            self.transport,
            requests.FUNCTIONS,
            self.namespace,
            type_=PartialObjectMetadata,
            handler=controller,
            label_selector=f"{labels.WORKER_GROUP}={group}",
            only_metadata=True,
        )
        tasks = [asyncio.ensure_future(informer.run()), asyncio.ensure_future(controller.run())]
        await informer.synced.wait()
        yield
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def read(self, name: str) -> Function | None:
        """Return the stored Function."""
        try:
            body = await self.transport.send(requests.get(requests.FUNCTIONS, self.namespace, name))
        except errors.NotFound:
            return None
        return msgspec.json.decode(body, type=Function)

    async def group_of(self, name: str) -> str:
        """Return whose it is: label and spec must agree."""
        found = await self.read(name)
        assert found is not None
        assert found.metadata.labels[labels.WORKER_GROUP] == found.spec.worker_group
        return found.spec.worker_group

    async def delete(self, name: str) -> None:
        """Delete the Function, as a person does."""
        await self.transport.send(requests.delete(requests.FUNCTIONS, self.namespace, name))

    async def patch(self, name: str, patch: object) -> None:
        """Change the Function, as a person does."""
        await self.transport.send(requests.merge_patch(requests.FUNCTIONS, self.namespace, name, patch))

    async def told(self, count: int) -> list[str]:
        """Return the messages of Events about take-overs, once there are that many."""
        writing = asyncio.ensure_future(self.events.run())
        found: list[str] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                body = await self.transport.send(requests.list_objects(requests.EVENTS, self.namespace))
                events = msgspec.json.decode(body, type=ObjectList[Event]).items
                found = [event.message for event in events if event.reason == TAKEN_OVER]
        writing.cancel()
        return found


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    """No function is registered."""
    transport = api_server.transport()
    yield World(api_server, transport)
    await transport.close()


async def test_functions_are_labelled_and_what_has_not_changed_is_not_written(world: World) -> None:
    """A restart of hundreds of replicas costs no write; other people's labels and annotations stay."""
    await world.register("g", description("one", text="First.", hidden=True))
    await world.patch("one", {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})
    first = await world.read("one")
    assert first is not None
    assert first.metadata.labels == {labels.WORKER_GROUP: "g", "team": "a"}
    await world.register("g", description("one", text="First.", hidden=True))
    assert await world.read("one") == first
    await world.register("g", description("one", text="Second."))
    changed = await world.read("one")
    assert changed is not None
    assert (changed.spec.description, changed.metadata.uid) == ("Second.", first.metadata.uid)
    assert changed.metadata.labels["team"] == "a"
    assert changed.metadata.annotations == {"note": "b"}


async def test_a_group_that_may_not_have_one_function_registers_none(world: World) -> None:
    """Nobody would run the others: its workers do not start."""
    await world.register("deployments", "deploy-service")
    with pytest.raises(FunctionOwnedError, match="deploy-service is owned by worker group deployments"):
        await world.register("releases", "another", "deploy-service")
    assert await world.read("another") is None
    assert await world.group_of("deploy-service") == "deployments"


async def test_of_two_groups_that_register_a_function_at_once_one_is_refused(world: World) -> None:
    """By compare-and-swap, however they interleave."""
    outcomes = await asyncio.gather(
        *(world.register(f"g{number}", "contested") for number in range(5)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, FunctionOwnedError)]
    assert (len(refused), outcomes.count(None)) == (4, 1)
    assert await world.group_of("contested") == f"g{outcomes.index(None)}"
    assert {error.owner for error in refused} == {await world.group_of("contested")}


async def test_replicas_of_one_group_register_at_once(world: World) -> None:
    """They want the same, so nobody fails."""
    await asyncio.gather(*(world.register("g", "one", "two") for _ in range(5)))
    assert [await world.group_of(name) for name in ("one", "two")] == ["g", "g"]


async def test_a_function_is_taken_over_and_back_and_people_are_told_each_time(world: World) -> None:
    """Two groups that both force it flip it at each start; nothing hides that."""
    await world.register("deployments", "deploy-service", "other")
    await world.register("releases", "deploy-service", take_over=True)
    assert await world.group_of("deploy-service") == "releases"
    assert await world.group_of("other") == "deployments"
    taken = await world.read("deploy-service")
    await world.register("releases", "deploy-service", take_over=True)
    assert await world.read("deploy-service") == taken
    await world.register("deployments", "deploy-service", "other", take_over=True)
    assert await world.group_of("deploy-service") == "deployments"
    assert sorted(await world.told(2)) == [
        "worker group deployments has taken function deploy-service over from worker group releases",
        "worker group releases has taken function deploy-service over from worker group deployments",
    ]


async def test_a_deleted_function_is_registered_again(world: World) -> None:
    """Also when nothing but its label went, without which nobody would find it."""
    mine = world.replica("g", description("one", text="First."))
    await mine.register()
    async with world.following(mine, "g"):
        first = await world.read("one")
        assert first is not None
        await world.delete("one")
        await eventually(lambda: world.read("one"))
        again = await world.read("one")
        assert again is not None
        assert (again.spec, again.metadata.uid != first.metadata.uid) == (first.spec, True)
        await world.patch("one", {"metadata": {"labels": {labels.WORKER_GROUP: None}}})

        async def is_labelled() -> bool:
            found = await world.read("one")
            return found is not None and labels.WORKER_GROUP in found.metadata.labels

        await eventually(is_labelled)


async def test_what_another_group_takes_is_given_up_until_it_comes_back(world: World) -> None:
    """A running group does not fight for it, and knows that its new Executions belong elsewhere."""
    mine = world.replica("g", "one", "two")
    await mine.register()
    async with world.following(mine, "g"):
        await world.register("other", "one", take_over=True)
        async with asyncio.timeout(60):
            while not mine.is_lost("one"):
                await asyncio.sleep(0.01)
        assert not mine.is_lost("two")
        assert await world.group_of("one") == "other"
        await world.register("g", "one", take_over=True)
        async with asyncio.timeout(60):
            while mine.is_lost("one"):
                await asyncio.sleep(0.01)


async def test_what_is_of_the_group_and_not_of_the_app_is_known_and_left_alone(world: World) -> None:
    """Replicas of another build may have it; the leader decides about it."""
    await world.register("g", "old")
    await world.register("other", "theirs")
    mine = world.replica("g", "one")
    await mine.register()
    async with world.following(mine, "g"):
        assert set(mine.registered) == {"old", "one"}
        await world.delete("old")
        async with asyncio.timeout(60):
            while "old" in mine.registered:
                await asyncio.sleep(0.01)
    assert await world.read("old") is None


async def test_a_missing_namespace_is_told_and_not_tried_for_ever(world: World) -> None:
    """The worker says what to do about it."""
    world.namespace = "nowhere"
    with pytest.raises(errors.NotFound, match="nowhere"):
        await world.register("g", "one")
