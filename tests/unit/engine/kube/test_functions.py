"""Functions are read as far as they can be: one that a newer version wrote stops nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import ExecutionDefaults, FunctionSpec
from kontinue.kube.requests import Request
from kontinue_engine.kube.functions import StoredFunction, find_owner, read_function
from scripted_transport import ScriptedTransport

NEWER = {"name": "f", "workerGroup": "g", "defaults": {"retry": {"policy": "Clairvoyant"}}, "moods": ["sunny"]}


def stored(spec: Any) -> StoredFunction:
    body = {"metadata": {"name": "f", "uid": "u"}, "spec": spec}
    return msgspec.json.decode(msgspec.json.encode(body), type=StoredFunction)


@pytest.mark.parametrize(
    ("spec", "owner"),
    [
        pytest.param({"name": "f", "workerGroup": "g"}, "g", id="ours"),
        pytest.param(NEWER, "g", id="of a newer version"),
        pytest.param({"name": "f", "workerGroup": 3}, "", id="nonsense"),
        pytest.param("nonsense", "", id="no spec"),
    ],
)
def test_whose_it_is_can_be_read_whatever_else_it_says(spec: Any, owner: str) -> None:
    """Empty if that very word is missing."""
    assert stored(spec).owner == owner


def test_it_says_what_it_should_only_if_all_of_it_can_be_read() -> None:
    """Otherwise its group writes it anew."""
    spec = FunctionSpec(name="f", worker_group="g", defaults=ExecutionDefaults())
    assert stored({"name": "f", "workerGroup": "g", "defaults": {}}).says(spec)
    assert not stored({"name": "f", "workerGroup": "g"}).says(spec)
    assert not stored(NEWER).says(spec)


@pytest.mark.parametrize("function", ["f", "???", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
async def test_a_function_that_nobody_has_has_no_owner(transport: ScriptedTransport, function: str) -> None:
    """Also one whose name no object can carry: anybody can ask for it."""

    def answer(request: Request) -> bytes:
        raise errors.NotFound("no such Function", status=404)

    transport.answer = answer
    assert await find_owner(transport, namespace="ns", function=function) is None


async def test_an_answer_that_is_no_function_at_all_counts_as_none(transport: ScriptedTransport) -> None:
    """A proxy's page, say: whoever asks tries again, as after any other error of the server."""
    transport.answer = lambda _: b"<html>"
    with pytest.raises(errors.Unavailable, match="Function ns/f cannot be read"):
        await read_function(transport, namespace="ns", name="f")
