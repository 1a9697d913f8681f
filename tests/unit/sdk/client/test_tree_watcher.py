"""A watched tree is that of one Execution, from its first state to its end."""

import asyncio
import json

import msgspec
import pytest

from kontinue.api.v1alpha1 import Execution
from kontinue.client.tree_watcher import TreeWatcher
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time


def execution(uid, phase, version=2):
    metadata = {"name": "x", "namespace": "ns", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"function": "f"}, "status": {"phase": phase}}


def event(type_, *args):
    return json.dumps({"type": type_, "object": execution(*args)}).encode()


class World(ScriptedTransport):
    """Has one Execution, and nothing below it."""

    def __init__(self):
        super().__init__()
        self.top = execution("first", "Executing")
        self.answer = self._list

    async def fetch(self):
        return msgspec.convert(self.top, Execution)

    async def stream(self, request, *, timeout_s=None):
        if "fieldSelector" not in request.query:
            await asyncio.Event().wait()  # nothing ever happens below it
        async for line in super().stream(request, timeout_s=timeout_s):
            yield line

    def _list(self, request):
        items = [self.top] if "fieldSelector" in request.query else []
        return json.dumps({"metadata": {"resourceVersion": "2"}, "items": items}).encode()


def replace_in_one_chunk(world):
    """Both events come before anybody has looked."""
    world.emit(event("DELETED", "first", "Executing", 3))
    world.emit(event("ADDED", "second", "Pending", 4))


def replace_while_cut_off(world):
    """The watch has missed the deletion: only a new list shows what there is."""
    world.top = execution("second", "Pending", 9)
    world.emit(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}')


@pytest.mark.parametrize("replace", [replace_in_one_chunk, replace_while_cut_off])
@virtual_time
async def test_another_execution_of_the_same_name_is_the_end(replace):
    """Its tree would be told as that of the one that was asked for."""
    world = World()
    seen = []
    async with asyncio.timeout(60), TreeWatcher(world, world.fetch) as watcher:
        async for tree in watcher:
            seen.append((tree.root.execution.metadata.uid, tree.root.phase))
            if len(seen) == 1:
                replace(world)
    assert seen == [("first", "Executing")]


@virtual_time
async def test_what_has_not_been_replaced_goes_on_after_a_cut():
    """A new list of the same Execution is only its newest state."""
    world = World()
    seen = []
    async with asyncio.timeout(60), TreeWatcher(world, world.fetch) as watcher:
        async for tree in watcher:
            seen.append(tree.root.phase)
            if len(seen) == 1:
                world.top = execution("first", "Completed", 9)
                world.emit(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}')
            else:
                break
    assert seen == ["Executing", "Completed"]
