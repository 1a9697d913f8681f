"""An informer tells its handler the whole selection first and every change after."""

import asyncio
import json
import weakref

import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import Execution
from kontinue.kube.reflector import PAGE_SIZE
from kontinue.kube.requests import EXECUTIONS
from kontinue_engine.kube.informer import Informer
from virtual_time import virtual_time


class Handler:
    """Keeps what it was told."""

    def __init__(self):
        self.calls = []

    def on_list(self, objects, *, initial):
        self.calls.append(("list", [obj.metadata.name for obj in objects], initial))

    def on_event(self, type, obj):  # noqa: A002
        self.calls.append((type, obj.metadata.name))


def obj(name, version):
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "spec": {"function": "f"}}


def event(type_, name, version):
    return json.dumps({"type": type_, "object": obj(name, version)}).encode()


@virtual_time
async def test_lists_and_changes_arrive_in_order(transport):
    """A second list is not the initial one; ``synced`` is set by the first."""
    body = json.dumps({"metadata": {"resourceVersion": "5"}, "items": [obj("a", 1)]}).encode()
    transport.answer = lambda _: body
    gone = errors.Gone("too old", status=410)
    transport.watches.extend([[event("ADDED", "b", 6), gone], [event("DELETED", "a", 7), None]])
    handler = Handler()
    informer = Informer(
        transport, EXECUTIONS, "ns", type_=Execution, handler=handler, label_selector="l=1", field_selector="f=2"
    )
    assert not informer.synced.is_set()
    running = asyncio.ensure_future(informer.run())
    await asyncio.sleep(1)
    assert informer.synced.is_set()
    assert informer.last_error is None
    assert handler.calls == [("list", ["a"], True), ("ADDED", "b"), ("list", ["a"], False), ("DELETED", "a")]
    for request in (*transport.sent, *transport.watched):
        assert "labelSelector=l%3D1&fieldSelector=f%3D2" in request.query
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@virtual_time
async def test_a_list_is_let_go_once_it_was_handed_over(transport):
    """Of ten thousand objects as much stays as the handler keeps, also when nothing changes for hours."""
    lists = []

    class Forgetful(Handler):
        def on_list(self, objects, *, initial):
            lists.append(weakref.ref(objects))
            super().on_list(objects, initial=initial)

    items = [obj(f"e{number}", number + 1) for number in range(PAGE_SIZE + 1)]
    transport.answer = lambda _: json.dumps({"metadata": {"resourceVersion": "5"}, "items": items}).encode()
    transport.watches.append([None])
    handler = Forgetful()
    running = asyncio.ensure_future(Informer(transport, EXECUTIONS, "ns", type_=Execution, handler=handler).run())
    await asyncio.sleep(1)
    assert len(handler.calls[0][1]) == PAGE_SIZE + 1
    assert [one() for one in lists] == [None]
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


@virtual_time
async def test_an_error_of_the_handler_is_raised(transport):
    """A bug must not be hidden behind retries."""

    class Broken(Handler):
        def on_list(self, objects, *, initial):
            raise TimeoutError("a bug")

    transport.answer = lambda _: b'{"metadata":{"resourceVersion":"5"},"items":[]}'
    informer = Informer(transport, EXECUTIONS, "ns", type_=Execution, handler=Broken())
    with pytest.raises(TimeoutError, match="a bug"):
        await informer.run()
