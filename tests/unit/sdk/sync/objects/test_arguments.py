"""What is given to a call and is of another type is named, with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from kontinue import errors, sync
from kontinue.client import Client
from kontinue.sync import (
    Barrier,
    Gate,
    Holder,
    HolderKind,
    Lease,
    Mutex,
    Once,
    RWMutex,
    Semaphore,
    WaitGroup,
)
from scripted_transport import ScriptedTransport

A_DURATION = "expected timedelta, for example timedelta(seconds=5)"
CASES: list[tuple[type[Any], Callable[[Any], Awaitable[Any]], str]] = [
    (Mutex, lambda one: one.create(ttl=5), f"ttl=5: {A_DURATION}"),
    (Mutex, lambda one: one.lock(timeout=5), f"timeout=5: {A_DURATION}"),
    (Mutex, lambda one: one.lock(ttl="5s"), f"ttl='5s': {A_DURATION}"),
    (Mutex, lambda one: one.lock(holder=5), "holder=5: expected str or Holder"),
    (Mutex, lambda one: one.unlock("x"), "lock='x': expected Lock"),
    (Mutex, lambda one: one.lock(holder=Holder(kind="pod", name="x")), "holder.kind='pod': expected HolderKind"),  # type: ignore[arg-type]
    (Mutex, lambda one: one.unlock(token="3"), "token='3': expected int"),
    (RWMutex, lambda one: one.rlock(timeout=5.0), f"timeout=5.0: {A_DURATION}"),
    (RWMutex, lambda one: one.unlock("x"), "lock='x': expected Lock"),
    (Once, lambda one: one.do(lambda _: None, lease=5), "lease=5: expected timedelta"),
    (Once, lambda one: one.do(5), "work=5: expected an async function"),
    (Lease, lambda one: one.acquire(timeout=5), f"timeout=5: {A_DURATION}"),
    (Lease, lambda one: one.acquire(ttl=5), f"ttl=5: {A_DURATION}"),
    (Lease, lambda one: one.acquire(priority="1"), "priority='1': expected int"),
    (Lease, lambda one: one.release("x"), "lock='x': expected Lock"),
    (Lease, lambda one: one.create(priority="1"), "priority='1': expected int"),
    (Semaphore, lambda one: one.create("3"), "permits='3': expected int"),
    (Semaphore, lambda one: one.acquire(timeout=5), f"timeout=5: {A_DURATION}"),
    (Semaphore, lambda one: one.acquire(ttl=5), f"ttl=5: {A_DURATION}"),
    (Semaphore, lambda one: one.acquire(holder=5), "holder=5: expected str"),
    (Semaphore, lambda one: one.acquire(bound_to="pod/x"), "bound_to='pod/x': expected Holder"),
    (Barrier, lambda one: one.create("3"), "expected='3': expected int"),
    (Barrier, lambda one: one.arrive(5), "holder=5: expected str"),
    (Barrier, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
    (Gate, lambda one: one.create("Job/x=Complete"), "conditions='Job/x=Complete': expected a list"),
    (Gate, lambda one: one.create(None), "conditions=None: expected a list"),
    (Gate, lambda one: one.create([5]), "conditions=5: expected str or GateCondition"),
    (Gate, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
    (WaitGroup, lambda one: one.add("3"), "delta='3': expected int"),
    (WaitGroup, lambda one: one.done("3"), "delta='3': expected int"),
    (WaitGroup, lambda one: one.add(holder="pod/x"), "holder='pod/x': expected Holder, for example holder=Holder("),
    (WaitGroup, lambda one: one.add(holder=Holder(kind="Pod", name="x")), "holder.kind='Pod': expected HolderKind"),  # type: ignore[arg-type]
    (WaitGroup, lambda one: one.add(operation_id=["x"]), "operation_id=['x']: expected str"),
    (WaitGroup, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
]


@pytest.mark.parametrize(("kind", "call", "said"), CASES, ids=[said.split(":")[0] for *_, said in CASES])
async def test_an_argument_of_another_type_is_named(kind: type[Any], call: Callable[[Any], Awaitable[Any]], said: str):
    """Before anything is sent: a number of seconds, say, where a duration is expected."""
    transport = ScriptedTransport()
    with pytest.raises(TypeError, match=re.escape(said)):
        await call(kind("x", Client.from_kube(transport, "default")))
    assert transport.sent == []


WRONG: list[tuple[type[Any], Callable[[Any], Awaitable[Any]], str]] = [
    (Mutex, lambda one: one.lock(holder=""), "holder='': it is empty"),
    (Mutex, lambda one: one.lock(holder=" \t"), r"holder=' \t': it is blank"),
    (WaitGroup, lambda one: one.add(operation_id=" "), "operation_id=' ': it is blank"),
    (Mutex, lambda one: one.unlock(holder=""), "holder='': it is empty"),
    (Mutex, lambda one: one.held(holder="").begin(), "holder='': it is empty"),
    (RWMutex, lambda one: one.rlock(holder=""), "holder='': it is empty"),
    (Once, lambda one: one.do(print, holder=""), "holder='': it is empty"),
    (Lease, lambda one: one.acquire(holder=""), "holder='': it is empty"),
    (Lease, lambda one: one.renew(holder=""), "holder='': it is empty"),
    (Semaphore, lambda one: one.acquire(holder=""), "holder='': it is empty"),
    (Semaphore, lambda one: one.hold(holder="").begin(), "holder='': it is empty"),
    (Semaphore, lambda one: one.release(""), "holder='': it is empty"),
    (Barrier, lambda one: one.arrive(""), "holder='': it is empty"),
    (WaitGroup, lambda one: one.add(operation_id=""), "operation_id='': it is empty"),
    (WaitGroup, lambda one: one.done(operation_id=""), "operation_id='': it is empty"),
    (WaitGroup, lambda one: one.done(-2), "delta=-2: expected 1 or more"),
    (WaitGroup, lambda one: one.done(0), "delta=0: expected 1 or more"),
]


BOUND: list[tuple[type[Any], Callable[[Any, Holder], Awaitable[Any]], str]] = [
    (Mutex, lambda one, holder: one.lock(holder=holder), "holder"),
    (Mutex, lambda one, holder: one.unlock(holder=holder), "holder"),
    (RWMutex, lambda one, holder: one.rlock(holder=holder), "holder"),
    (Once, lambda one, holder: one.do(print, holder=holder), "holder"),
    (Semaphore, lambda one, holder: one.acquire(bound_to=holder), "bound_to"),
    (Lease, lambda one, holder: one.acquire(holder=holder), "holder"),
    (WaitGroup, lambda one, holder: one.add(holder=holder), "holder"),
    (WaitGroup, lambda one, holder: one.done(holder=holder), "holder"),
]


@pytest.mark.parametrize(("kind", "call", "said"), WRONG)
async def test_what_a_variable_that_is_not_set_would_say_is_refused(
    kind: type[Any], call: Callable[[Any], Awaitable[Any]], said: str
):
    """An empty text is not the default, and what is done is not added: nothing is sent."""
    transport = ScriptedTransport()
    with pytest.raises(ValueError, match=re.escape(said)):
        await call(kind("x", Client.from_kube(transport, "default")))
    assert transport.sent == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb", "h\udcff"])
@pytest.mark.parametrize(("kind", "call", "argument"), BOUND)
async def test_a_holder_of_a_name_that_no_object_can_have_is_refused(
    kind: type[Any], call: Callable[[Any, Holder], Awaitable[Any]], argument: str, name: str
):
    """Nobody can be meant by it, also where its uid is said: nothing is sent."""
    transport = ScriptedTransport()
    for uid in ("", "u"):
        with pytest.raises(ValueError, match=re.escape(f"{argument}.name={name!r}: no Pod can be called that")):
            await call(kind("x", Client.from_kube(transport, "default")), Holder(HolderKind.POD, name, uid))
    assert transport.sent == []


BELOW_0 = timedelta(seconds=-1)
TOO_SHORT = timedelta(microseconds=999)
SPANS: list[tuple[type[Any], str, Callable[[Any, timedelta], Awaitable[Any]], bool]] = [
    (Mutex, "ttl", lambda one, span: one.create(ttl=span), True),
    (Mutex, "ttl", lambda one, span: one.lock(ttl=span), True),
    (Mutex, "ttl", lambda one, span: one.held(ttl=span).begin(), True),
    (RWMutex, "ttl", lambda one, span: one.create(ttl=span), True),
    (RWMutex, "ttl", lambda one, span: one.lock(ttl=span), True),
    (RWMutex, "ttl", lambda one, span: one.rlock(ttl=span), True),
    (RWMutex, "ttl", lambda one, span: one.reading(ttl=span).begin(), True),
    (Once, "lease", lambda one, span: one.do(print, lease=span), True),
    (Once, "lease", lambda one, span: one.running(lease=span).begin(), True),
    (Once, "ttl", lambda one, span: one.create(ttl=span), False),
    (Lease, "ttl", lambda one, span: one.create(ttl=span), True),
    (Lease, "ttl", lambda one, span: one.acquire(ttl=span), True),
    (Lease, "ttl", lambda one, span: one.held(ttl=span).begin(), True),
    (Semaphore, "ttl", lambda one, span: one.create(ttl=span), True),
    (Semaphore, "ttl", lambda one, span: one.acquire(ttl=span), True),
    (Semaphore, "ttl", lambda one, span: one.hold(ttl=span).begin(), True),
    (Barrier, "timeout", lambda one, span: one.create(2, timeout=span), False),
    (Gate, "timeout", lambda one, span: one.create(["Job/x=Complete"], timeout=span), False),
    (WaitGroup, "ttl", lambda one, span: one.create(ttl=span), False),
]


@pytest.mark.parametrize(("kind", "name", "call"), [one[:3] for one in SPANS])
async def test_a_length_of_time_that_is_negative_is_refused(
    kind: type[Any], name: str, call: Callable[[Any, timedelta], Awaitable[Any]]
):
    """By its name and before anything is sent; not by the API server, once it is one's turn."""
    transport = ScriptedTransport()
    with pytest.raises(ValueError, match=f"^{name}=-1s: it is negative"):
        await call(kind("x", Client.from_kube(transport, "default")), BELOW_0)
    assert transport.sent == []


@pytest.mark.parametrize(("kind", "name", "call"), [one[:3] for one in SPANS if one[3]])
async def test_a_ttl_that_is_over_before_it_is_heard_of_is_refused(
    kind: type[Any], name: str, call: Callable[[Any, timedelta], Awaitable[Any]]
):
    """Nobody could ever hold anything by it: that it is held would be no success."""
    transport = ScriptedTransport()
    with pytest.raises(ValueError, match=f"^{name}=999us: it is over before it is heard of; expected 1ms or more"):
        await call(kind("x", Client.from_kube(transport, "default")), TOO_SHORT)
    assert transport.sent == []


@pytest.mark.parametrize("kind", [Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup])
def test_all_kinds_are_made_of_a_name_and_a_client(kind: type[Any]):
    """Anything else is refused when the object is made, also of its twin for threads."""
    client = Client.from_kube(ScriptedTransport(), "default")
    twin = getattr(sync, f"Sync{kind.__name__}")
    for make, said in (
        (lambda: kind(None, client), "name=None: expected str, for example"),
        (lambda: kind("x", None), "client=None: expected Client, for example"),
        (lambda: kind("x", client, namespace=5), "namespace=5: expected str, for example"),
        (lambda: twin("x", client), "expected SyncClient, for example"),
    ):
        with pytest.raises(TypeError, match=re.escape(said)):
            make()
    for name in ("", "..", "x/status"):
        with pytest.raises(errors.Invalid, match="is no name of"):
            kind(name, client)
