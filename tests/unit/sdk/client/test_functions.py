"""Functions are looked up once for many spawns, and unknown ones come with a suggestion."""

import asyncio

import msgspec
import pytest

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue.client.functions import TTL_S, FunctionDirectory
from virtual_time import virtual_time


class Server:
    """Serves Functions by object name."""

    def __init__(self, *names, group="g"):
        self.functions = {
            name.replace("_", "-"): Function(
                metadata=ObjectMeta(name=name.replace("_", "-")), spec=FunctionSpec(name=name, worker_group=group)
            )
            for name in names
        }
        self.count = 0

    async def __call__(self, request):
        self.count += 1
        await asyncio.sleep(0)
        name = request.path.rpartition("/")[2]
        if name == "functions":
            return msgspec.json.encode({"metadata": {}, "items": list(self.functions.values())})
        if name not in self.functions:
            raise errors.NotFound("not found", status=404)
        return msgspec.json.encode(self.functions[name])


@virtual_time
async def test_many_spawns_at_once_read_a_function_once():
    """Until it is too old."""
    server = Server("deploy_service")
    directory = FunctionDirectory(server)
    found = await asyncio.gather(*(directory.find("ns", "deploy_service") for _ in range(100)))
    assert {function.spec.name for function in found} == {"deploy_service"}
    assert server.count == 1
    await directory.find("other", "deploy_service")
    assert server.count == 2
    await asyncio.sleep(TTL_S + 1)
    await directory.find("ns", "deploy_service")
    assert server.count == 3


@virtual_time
async def test_an_unknown_function_names_the_nearest_and_the_groups():
    """The message says what is there and what may be missing."""
    directory = FunctionDirectory(Server("release", "build", group="releases"))
    with pytest.raises(errors.UnknownFunction, match=r"Did you mean 'release'\?.*releases \(2\)") as caught:
        await directory.find("ns", "relaese")
    assert (caught.value.function, caught.value.suggestion) == ("relaese", "release")


@virtual_time
async def test_an_empty_namespace_says_to_start_a_worker():
    """Nothing to suggest."""
    with pytest.raises(errors.UnknownFunction, match=r"No worker has registered any function there.*kontinue dev"):
        await FunctionDirectory(Server()).find("ns", "anything")


@virtual_time
async def test_a_missing_function_is_asked_for_again():
    """A worker may register it at any moment."""
    server = Server()
    directory = FunctionDirectory(server)
    with pytest.raises(errors.UnknownFunction):
        await directory.find("ns", "late")
    server.functions = Server("late").functions
    assert (await directory.find("ns", "late")).spec.name == "late"


@virtual_time
async def test_a_name_that_no_object_can_have_is_unknown():
    """It is not sent to the server."""
    with pytest.raises(errors.UnknownFunction):
        await FunctionDirectory(Server("a")).find("ns", "???")
