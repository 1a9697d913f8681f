"""A spawn is one create with a name of its own, and knows its object again."""

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, Function, FunctionSpec
from kontinue.client.options import SpawnOptions
from kontinue.client.spawning import create_execution, first_difference
from kontinue.options import RetryPolicy

FUNCTION = Function(
    metadata=ObjectMeta(name="deploy-service"), spec=FunctionSpec(name="deploy_service", worker_group="releases")
)


class Server:
    """Keeps created Executions; may lose the answer to a create, as a cut connection does."""

    def __init__(self, *, loses_answers=False):
        self.objects = {}
        self.requests = []
        self._loses_answers = loses_answers

    async def __call__(self, request, *, repeatable=None):
        self.requests.append(request)
        if request.method == "GET":
            name = request.path.rpartition("/")[2]
            if name not in self.objects:
                raise errors.NotFound("gone", status=404)
            return msgspec.json.encode(self.objects[name])
        assert repeatable, "a create with a nonce may be repeated"
        created = msgspec.json.decode(request.body, type=Execution)
        if created.metadata.name in self.objects:
            raise errors.AlreadyExists("exists", status=409, reason="AlreadyExists")
        metadata = msgspec.structs.replace(created.metadata, uid="u", resource_version="7")
        self.objects[created.metadata.name] = msgspec.structs.replace(created, metadata=metadata)
        if self._loses_answers:
            return await self(request, repeatable=True)
        return request.body.replace(b'"metadata":{', b'"metadata":{"uid":"u","resourceVersion":"7",')


async def spawn(server, **options):
    return await create_execution(server, "ns", FUNCTION, b'{"a":1}', SpawnOptions(**options))


async def test_a_spawn_is_one_write():
    """Labels, arguments and options are in it; there is no root label and no status."""
    server = Server()
    metadata = await spawn(server, retry=RetryPolicy(retries=3), mutex="m")
    (request,) = server.requests
    body = msgspec.json.decode(request.body)
    assert metadata.name.startswith("deploy-service-")
    assert metadata.uid == "u"
    assert body["metadata"]["labels"] == {labels.WORKER_GROUP: "releases", labels.FUNCTION: "deploy_service"}
    assert body["spec"]["function"] == "deploy_service"
    assert body["spec"]["arguments"] == {"a": 1}
    assert body["spec"]["retry"]["retries"] == 3
    assert body["spec"]["mutex"] == {"name": "m"}
    assert "status" not in body


async def test_names_differ():
    """Two spawns of one function are two Executions."""
    server = Server()
    assert (await spawn(server)).name != (await spawn(server)).name


async def test_a_lost_answer_is_no_duplicate():
    """The object carries our nonce, so AlreadyExists is success."""
    server = Server(loses_answers=True)
    metadata = await spawn(server)
    assert metadata.uid == "u"
    assert len(server.objects) == 1


async def test_a_taken_name_is_an_error_with_a_remedy():
    """By default somebody else's Execution is not ours."""
    server = Server()
    await spawn(server, name="x")
    with pytest.raises(errors.AlreadyExists, match=r"ns/x exists already .*if_exists='attach'.*`kontinue wait x`"):
        await spawn(server, name="x")


async def test_attach_takes_the_one_that_exists():
    """An idempotent spawn."""
    server = Server()
    first = await spawn(server, name="x")
    assert (await spawn(server, name="x", if_exists="attach")).uid == first.uid


async def test_attach_refuses_another_function():
    """Its result would have another type."""
    server = Server()
    first = await spawn(server, name="x")
    other = server.objects[first.name]
    server.objects["x"] = msgspec.structs.replace(other, spec=msgspec.structs.replace(other.spec, function="other"))
    with pytest.raises(errors.AlreadyExists, match="it runs 'other', not 'deploy_service'"):
        await spawn(server, name="x", if_exists="attach")


async def test_attach_refuses_other_arguments():
    """Whoever asks for something else would be told the result of what was asked for before."""
    server = Server()
    await spawn(server, name="x")
    with pytest.raises(errors.AlreadyExists, match=r"ns/x cannot be attached to: .*which differ at \$\.a\. Choose"):
        await create_execution(server, "ns", FUNCTION, b'{"a":2}', SpawnOptions(name="x", if_exists="attach"))
    assert len(server.objects) == 1


async def test_what_was_in_the_way_and_is_gone_is_told():
    """To create it now could be the second run of what this spawn has started itself."""
    server = Server()
    await spawn(server, name="x")

    async def send(request, *, repeatable=None):
        if request.method == "GET":
            server.objects.clear()
        return await server(request, repeatable=repeatable)

    with pytest.raises(errors.AlreadyExists, match=r"ns/x was there .* and is gone now: .* Spawn it again"):
        await create_execution(send, "ns", FUNCTION, b"{}", SpawnOptions(name="x", if_exists="attach"))


async def test_who_does_not_know_whether_it_was_created_is_told_its_name():
    """To look for it, or to spawn it again."""

    async def send(request, *, repeatable=None):
        raise errors.Unavailable("no answer", status=503)

    with pytest.raises(errors.Unavailable, match="whether Execution ns/x was created is not known: no answer") as told:
        await create_execution(send, "ns", FUNCTION, b"{}", SpawnOptions(name="x"))
    assert told.value.status == 503


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ('{"a":1,"b":[1,{"c":null}]}', '{"b": [1.0, {"c": null}], "a": 1}', None),
        ('{"a":1}', '{"a":1,"b":2}', "$.b"),
        ('{"a":{"b":[1,2]}}', '{"a":{"b":[1]}}', "$.a.b[1]"),
        ('{"a":{"b":[1,2]}}', '{"a":{"b":[1,3]}}', "$.a.b[1]"),
        ('{"a":true}', '{"a":1}', "$.a"),
        ('{"a":"1"}', '{"a":1}', "$.a"),
        ('{"a":null}', "{}", "$.a"),
        ('{"a":{}}', '{"a":[]}', "$.a"),
    ],
)
def test_arguments_are_compared_as_values(one, other, path):
    """Not as they are written, which a server may change."""
    assert first_difference(one.encode(), other.encode()) == path
