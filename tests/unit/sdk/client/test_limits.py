"""The timeout of a client holds for each of its calls as a whole."""

import asyncio
import json
from datetime import timedelta

import pytest

from kontinue import errors
from kontinue.client import Client, SpawnOptions
from kontinue.client.throttle import Throttle
from kontinue.sync import Barrier
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time

FUNCTION = b'{"metadata":{"name":"build"},"spec":{"name":"build","workerGroup":"g"}}'
EXECUTION = {"metadata": {"name": "x", "namespace": "ns", "uid": "u"}, "spec": {"function": "f"}}


class Slow(ScriptedTransport):
    """Answers after three seconds; ``begun`` has each request from its beginning on."""

    def __init__(self):
        super().__init__()
        self.begun = []

    async def send(self, request, **options):
        self.begun.append(request)
        await asyncio.sleep(3)
        return await super().send(request, **options)


def client_of(transport, timeout):
    transport.answer = lambda _: json.dumps(EXECUTION).encode()
    return Client.from_kube(transport, "ns").with_timeout(timeout)


@virtual_time
async def test_a_call_of_several_requests_has_one_limit():
    """Not one for each: here the answer to the second would come too late."""
    client = client_of(Slow(), timedelta(seconds=5))
    assert (await client.get("x")).metadata.uid == "u"
    began_s = elapsed_s()
    with pytest.raises(errors.Unavailable, match=r"cancel: .* within the client's timeout of 5 s; .* may have been"):
        await client.cancel("x")
    assert elapsed_s() - began_s == 5
    await client.with_timeout(None).cancel("x")
    await client.with_timeout(timedelta(seconds=7)).cancel("x")


@virtual_time
async def test_a_call_that_only_reads_leaves_nothing_in_doubt():
    """Nothing was to be changed."""
    client = client_of(Slow(), timedelta(seconds=2))
    with pytest.raises(errors.Unavailable, match=r"get: .* within the client's timeout of 2 s$"):
        await client.get("x")
    with pytest.raises(errors.Unavailable, match=r"GET /apis/.* within the client's timeout of 2 s$"):
        _ = [one async for one in client.iterate()]


@virtual_time
async def test_a_call_about_one_object_that_is_cut_off_names_the_object():
    """Its user may not have heard of a client: what limits a verb of the command line is --timeout."""
    client = client_of(Slow(), timedelta(seconds=2))
    with pytest.raises(errors.Unavailable) as caught:
        await Barrier("deploy", client).arrive("me")
    over = "Barrier ns/deploy: the API server has not answered within 2s; what was to be changed may have been changed"
    assert str(caught.value) == over
    with pytest.raises(errors.Unavailable, match=r"^Barrier ns/deploy: .* within 2s$"):
        await Barrier("deploy", client).get()


@pytest.mark.parametrize("name", [None, "nightly-7"])
@virtual_time
async def test_a_spawn_that_is_cut_off_names_what_it_may_have_created(name):
    """Somebody can look at it by that name."""
    transport = Slow()
    client = client_of(transport, timedelta(seconds=5))
    transport.answer = lambda _: FUNCTION
    with pytest.raises(errors.Unavailable) as caught:
        await client.spawn("build", {}, options=SpawnOptions(name=name))
    created = json.loads(transport.begun[-1].body)["metadata"]["name"]
    assert created == (name or created)
    assert str(caught.value) == (
        "spawn: the API server has not answered within the client's timeout of 5 s; "
        f"whether Execution ns/{created} was created is not known"
    )


@virtual_time
async def test_a_spawn_that_is_cut_off_before_its_write_leaves_nothing_in_doubt():
    """It was still asking for the function."""
    client = client_of(Slow(), timedelta(seconds=2))
    with pytest.raises(errors.Unavailable, match=r"spawn: .* timeout of 2 s$"):
        await client.spawn("build", {})


@virtual_time
async def test_pages_that_are_read_one_by_one_have_limits_of_their_own():
    """Who reads them may take time between them."""
    transport = Slow()
    client = client_of(transport, timedelta(seconds=5))
    pages = [{"metadata": {"continue": token}, "items": [EXECUTION]} for token in ("1", "2", "")]
    transport.answer = lambda _: json.dumps(pages[len(transport.sent) - 1]).encode()
    found = [one async for one in client.iterate(include_archived=False)]
    assert len(found) == 3
    assert elapsed_s() == 9
    transport.sent.clear()
    with pytest.raises(errors.Unavailable, match="list: "):
        await client.list(include_archived=False)


@virtual_time
async def test_waiting_for_a_turn_counts():
    """A client that may send little must not wait for longer than it may take."""
    client = client_of(ScriptedTransport(), timedelta(seconds=5))
    client._shared.throttle = Throttle(0.1, 1)
    await client.get("x")
    with pytest.raises(errors.Unavailable):
        await client.get("x")
    assert elapsed_s() == 5


@virtual_time
async def test_timeouts_of_others_pass():
    """Of the caller's own, and of what is called."""
    client = client_of(Slow(), timedelta(seconds=5))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.get("x"), 1)

    def fail(_):
        raise TimeoutError("of somebody else")

    client.kube.answer = fail
    with pytest.raises(TimeoutError, match="of somebody else"):
        await client.get("x")


async def test_one_try_has_the_transports_own_limit():
    """An answer that never comes is asked for again, and does not take all the time of the call."""

    class Keeping(ScriptedTransport):
        async def send(self, request, **options):
            self.options = options
            return await super().send(request, **options)

    client = client_of(Keeping(), timedelta(minutes=5))
    await client.get("x")
    assert client.kube.options.get("timeout_s") is None
    assert client.kube.options["retry_for_s"] == 300
