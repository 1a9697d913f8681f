"""Reading of trees that are archived: what else the leader does goes on meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.archiving import TreeStore
from scripted_transport import ScriptedTransport

CHILDREN = 5


def execution(name: str) -> dict[str, Any]:
    owners = [] if name == "root" else [{"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "root"}]
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "ownerReferences": [{**owner, "uid": "uid-root", "controller": True} for owner in owners],
        },
        "spec": {"function": "f"},
        "status": {"phase": "Completed"},
    }


def answer(request: Request) -> bytes:
    if request.path.endswith("/root"):
        return msgspec.json.encode(execution("root"))
    assert dict(parse_qsl(request.query))["labelSelector"] == f"{labels.ROOT}=root"
    names = [f"child-{number}" for number in range(CHILDREN)] if request.path.endswith("/executions") else []
    return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": [execution(name) for name in names]})


async def test_others_have_a_turn_between_two_objects_that_are_compressed() -> None:
    """A large one takes tens of milliseconds: a page of them in a row would hold up every Execution of the leader."""
    transport = ScriptedTransport()
    transport.answer = answer
    store = TreeStore(transport, "ns")
    root = await store.read_root("root", "uid-root")
    assert root is not None
    turn, seen = 0, []

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def note_turn(_: Execution) -> str:
        seen.append(turn)
        return ""

    counting = asyncio.create_task(count())
    tree = await store.read_tree(root, note_turn)
    counting.cancel()
    assert len(tree.versions) == CHILDREN
    assert len(seen) == len(set(seen)) == CHILDREN + 1
