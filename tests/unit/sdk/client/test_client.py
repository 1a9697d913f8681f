"""What a client does when the world changes between its requests."""

import json

import pytest

from kontinue import errors
from kontinue.client import Client, ClientOptions


def obj(phase, uid="u"):
    return {
        "metadata": {"name": "x", "namespace": "ns", "uid": uid, "resourceVersion": "1"},
        "spec": {"function": "f"},
        **({"status": {"phase": phase}} if phase else {}),
    }


REFUSED_TEST = errors.Invalid("test failed", status=422)


class Phases:
    """Answers each read with the next phase; a patch fails while a later phase is to come."""

    def __init__(self, *phases, patched=REFUSED_TEST):
        self._phases = list(phases)
        self._patched = patched
        self.patches = []

    def __call__(self, request):
        if request.method == "GET":
            return json.dumps(obj(self._phases.pop(0))).encode()
        self.patches.append(json.loads(request.body))
        if self._phases:
            raise self._patched
        return b"{}"


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


@pytest.mark.parametrize("options", [{"qps": 0}, {"burst": 0}])
def test_options_that_cannot_work_are_refused(options):
    """A throttle that never lets anything pass."""
    with pytest.raises(ValueError, match="expected"):
        ClientOptions(**options)
