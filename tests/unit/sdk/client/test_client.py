"""What a client does when the world changes between its requests."""

import json

import pytest

from kontinue import errors
from kontinue.client import Client, ClientOptions, SpawnOptions
from kontinue.definition import define
from kontinue.kube.patching import TRIES
from scripted_transport import ScriptedTransport
from virtual_time import elapsed_s, virtual_time


def obj(phase, version):
    return {
        "metadata": {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": str(version)},
        "spec": {"function": "f"},
        **({"status": {"phase": phase}} if phase else {}),
    }


REFUSED_TEST = errors.Invalid("test failed", status=422)


class Phases:
    """Answers each read with the next phase; a patch fails while a phase is to come. ``rests``: of one version."""

    def __init__(self, *phases, patched=REFUSED_TEST, rests=False):
        self._phases = list(phases)
        self._patched = patched
        self.patches = []
        self._version = 1
        self._rests = rests

    def __call__(self, request):
        if request.method == "GET":
            self._version += not self._rests
            return json.dumps(obj(self._phases.pop(0), self._version)).encode()
        self.patches.append(json.loads(request.body))
        if self._phases:
            raise self._patched
        return b"{}"


async def test_spawn_by_name_says_that_arguments_go_in_a_mapping(transport):
    """Keyword arguments are for definitions, whose types are known."""
    client = Client.from_kube(transport, "ns")
    for wrong in (lambda: client.spawn("f", x=3), lambda: client.spawn("f", 1, 2)):
        with pytest.raises(TypeError, match=r"in one mapping of names to values: spawn\('f', \{"):
            wrong()


async def test_spawn_of_a_definition_says_where_its_options_go(transport):
    """Keyword arguments are the function's own, so options of the spawn are given elsewhere."""
    definition = define(lambda number: number, name="f")
    client = Client.from_kube(transport, "ns")
    with pytest.raises(errors.InvalidArguments, match=r"options.* spawn\(fn\.options\(name=\.\.\.\), \.\.\.\)"):
        await client.spawn(definition, 3, options=SpawnOptions(name="x"))
    with pytest.raises(errors.InvalidArguments, match=r"^f: unknown options; its parameters are number$"):
        await client.spawn(definition, 3, options=5)
    assert transport.sent == []


@pytest.mark.parametrize("timeout", [10, 0.5])
async def test_a_number_is_no_timeout(transport, timeout):
    """It could be seconds or milliseconds; nothing is asked of the server."""
    client = Client.from_kube(transport, "ns")
    wrong = rf"timeout={timeout}: expected timedelta, for example timedelta\(seconds=5\)"
    with pytest.raises(TypeError, match=wrong):
        await client.wait_for_execution("x", timeout=timeout)
    with pytest.raises(TypeError, match=wrong):
        client.with_timeout(timeout)
    assert transport.sent == transport.watched == []


async def test_cancel_follows_a_phase_that_changes_meanwhile(transport):
    """Each try tests the phase seen last."""
    transport.answer = Phases(None, "Pending", "Executing")
    await Client.from_kube(transport, "ns").cancel("x")
    tested = [operations[0] for operations in transport.answer.patches]
    assert tested == [
        {"op": "test", "path": "/status", "value": None},
        {"op": "test", "path": "/status/phase", "value": "Pending"},
        {"op": "test", "path": "/status/phase", "value": "Executing"},
    ]


async def test_cancel_gives_up_when_the_execution_ends_meanwhile(transport):
    """Completed was faster."""
    transport.answer = Phases("Executing", "Completed")
    with pytest.raises(errors.InvalidState, match="it is Completed already"):
        await Client.from_kube(transport, "ns").cancel("x")


async def test_cancel_whose_answer_was_lost_has_succeeded(transport):
    """The repeated patch fails its test, because the first one was applied."""
    transport.answer = Phases("Executing", "Canceled")
    await Client.from_kube(transport, "ns").cancel("x")


@pytest.mark.parametrize("error", [errors.Forbidden("no", status=403), errors.Invalid("bad", status=400)])
async def test_cancel_raises_other_refusals(transport, error):
    """Trying again would not help."""
    transport.answer = Phases("Executing", "Executing", patched=error)
    with pytest.raises(type(error)):
        await Client.from_kube(transport, "ns").cancel("x")


@virtual_time
async def test_cancel_gives_up_on_a_refusal_that_has_nothing_to_do_with_the_phase():
    """The object did not change between two refusals: an admission rule, say."""
    transport = ScriptedTransport()
    transport.answer = Phases(*["Executing"] * 3, patched=errors.Invalid("denied", status=422), rests=True)
    with pytest.raises(errors.Invalid, match="denied"):
        await Client.from_kube(transport, "ns").cancel("x")
    assert len(transport.answer.patches) == 2


@virtual_time
async def test_cancel_of_an_execution_that_never_rests_ends_with_the_refusal():
    """Not with a loop without a pause."""
    transport = ScriptedTransport()
    transport.answer = Phases(*["Executing", "Suspended"] * 100)
    with pytest.raises(errors.Invalid, match="test failed"):
        await Client.from_kube(transport, "ns").cancel("x")
    assert len(transport.answer.patches) == TRIES
    assert elapsed_s() > 0


@pytest.mark.parametrize("options", [{"qps": 0}, {"burst": 0}, {"api_group": "kontinue.cloud"}])
def test_options_that_cannot_work_are_refused(options):
    """A throttle that never lets anything pass; a group in which there are no primitives."""
    with pytest.raises(ValueError, match="expected"):
        ClientOptions(**options)
