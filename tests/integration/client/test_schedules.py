"""Schedules through the client, in both colours, against an API server."""

import msgspec
import pytest

from colours import COLOURS, client_of
from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    ExecutionDefaults,
    ExecutionRetry,
    ScheduledExecution,
    ScheduledExecutionSpec,
)
from kontinue.client import ClientOptions
from kontinue.kube import requests
from kontinue.kube.requests import SCHEDULED_EXECUTIONS
from played_worker import PlayedWorker


def schedule(name, function="build", arguments=b'{"target":"amd64"}', **metadata):
    return ScheduledExecution(
        metadata=ObjectMeta(name=name, **metadata),
        spec=ScheduledExecutionSpec(
            schedule="0 3 * * *",
            function=function,
            arguments=msgspec.Raw(arguments),
            execution_defaults=ExecutionDefaults(retry=ExecutionRetry(retries=2)),
        ),
    )


@pytest.fixture
async def kube(api_server):
    """A transport."""
    transport = api_server.transport()
    yield transport
    await transport.close()


@pytest.fixture(params=COLOURS)
async def client(request, kube, api_server):
    """A client without throttling, beside a worker that has registered its function."""
    await PlayedWorker(kube, api_server.namespace).register()
    async with client_of(request.param, ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as subject:
        yield subject


async def create(client, *args, **kwargs):
    await client.kube.send(requests.create(SCHEDULED_EXECUTIONS, client.namespace, schedule(*args, **kwargs)))


async def test_schedules_are_read_by_name_function_and_label(client):
    """Sorted by name; what is not there is an error that names it."""
    await create(client, "nightly", labels={"team": "shop"})
    await create(client, "hourly", function="other")
    await create(client, "daily")
    assert (await client.get_scheduled_execution("nightly")).spec.schedule == "0 3 * * *"

    async def names(**wanted):
        return [one.metadata.name for one in await client.list_scheduled_executions(**wanted)]

    assert await names() == ["daily", "hourly", "nightly"]
    assert await names(function="build") == ["daily", "nightly"]
    assert await names(labels={"team": "shop"}) == ["nightly"]
    with pytest.raises(errors.NotFound, match="no ScheduledExecution 'weekly' in namespace"):
        await client.get_scheduled_execution("weekly")


async def test_a_schedule_is_suspended_and_resumed(client):
    """By name, and by an object that is out of date; one that was replaced is left alone."""
    await create(client, "nightly")
    seen = await client.get_scheduled_execution("nightly")
    await client.suspend_scheduled_execution("nightly")
    assert (await client.get_scheduled_execution("nightly")).spec.suspend
    await client.resume_scheduled_execution(seen)
    assert not (await client.get_scheduled_execution("nightly")).spec.suspend
    await client.kube.send(requests.delete(SCHEDULED_EXECUTIONS, client.namespace, "nightly"))
    with pytest.raises(errors.NotFound):
        await client.suspend_scheduled_execution(seen)
    await create(client, "nightly")
    with pytest.raises(errors.NotFound, match="deleted and created again"):
        await client.suspend_scheduled_execution(seen)
    assert not (await client.get_scheduled_execution("nightly")).spec.suspend


async def test_what_a_schedule_starts_can_be_started_now(client):
    """With its arguments and defaults, belonging to it, under a name of its own, though it is suspended."""
    await create(client, "nightly")
    await client.suspend_scheduled_execution("nightly")
    nightly = await client.get_scheduled_execution("nightly")
    first = await client.trigger_scheduled_execution("nightly")
    second = await client.trigger_scheduled_execution(nightly)
    found = await client.list(schedule="nightly")
    assert {one.metadata.uid for one in found} == {first.uid, second.uid}
    (execution,) = (one for one in found if one.metadata.uid == first.uid)
    assert execution.metadata.name.startswith("nightly-")
    assert msgspec.json.decode(execution.spec.arguments) == {"target": "amd64"}
    assert execution.spec.retry == ExecutionRetry(retries=2)
    assert [owner.uid for owner in execution.metadata.owner_references] == [nightly.metadata.uid]
    assert execution.metadata.labels[labels.WORKER_GROUP] == "releases"


async def test_a_schedule_of_a_function_that_nobody_has_is_not_started(client):
    """The error suggests one; nothing is created."""
    await create(client, "nightly", function="bulid")
    with pytest.raises(errors.UnknownFunction, match="Did you mean 'build'"):
        await client.trigger_scheduled_execution("nightly")
    assert await client.list() == []


async def test_a_schedule_whose_arguments_do_not_fit_is_not_started(client):
    """Each Execution would fail for it: the error says where, and nothing is created."""
    await create(client, "nightly", arguments=b'{"target":7}')
    with pytest.raises(errors.InvalidArguments, match="expected string, got 7") as caught:
        await client.trigger_scheduled_execution("nightly")
    assert caught.value.path == "$.target"
    assert await client.list() == []
