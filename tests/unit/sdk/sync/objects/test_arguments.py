"""What is given to a call and is of another type is named, with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kontinue.client import Client
from kontinue.sync import Barrier, Gate, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from scripted_transport import ScriptedTransport

A_DURATION = "expected timedelta, for example timedelta(seconds=5)"
CASES: list[tuple[type[Any], Callable[[Any], Awaitable[Any]], str]] = [
    (Mutex, lambda one: one.create(ttl=5), f"ttl=5: {A_DURATION}"),
    (Mutex, lambda one: one.lock(timeout=5), f"timeout=5: {A_DURATION}"),
    (Mutex, lambda one: one.lock(ttl="5s"), f"ttl='5s': {A_DURATION}"),
    (Mutex, lambda one: one.lock(holder=5), "holder=5: expected str or Holder"),
    (Mutex, lambda one: one.unlock("x"), "lock='x': expected Lock"),
    (RWMutex, lambda one: one.rlock(timeout=5.0), f"timeout=5.0: {A_DURATION}"),
    (RWMutex, lambda one: one.unlock("x"), "lock='x': expected Lock"),
    (Once, lambda one: one.do(lambda _: None, lease=5), "lease=5: expected timedelta"),
    (Lease, lambda one: one.acquire(timeout=5), f"timeout=5: {A_DURATION}"),
    (Lease, lambda one: one.acquire(ttl=5), f"ttl=5: {A_DURATION}"),
    (Lease, lambda one: one.release("x"), "lock='x': expected Lock"),
    (Lease, lambda one: one.create(priority="1"), "priority='1': expected int"),
    (Semaphore, lambda one: one.create("3"), "permits='3': expected int"),
    (Semaphore, lambda one: one.acquire(timeout=5), f"timeout=5: {A_DURATION}"),
    (Semaphore, lambda one: one.acquire(ttl=5), f"ttl=5: {A_DURATION}"),
    (Semaphore, lambda one: one.acquire(holder=5), "holder=5: expected str"),
    (Barrier, lambda one: one.create("3"), "expected='3': expected int"),
    (Barrier, lambda one: one.arrive(5), "holder=5: expected str"),
    (Barrier, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
    (Gate, lambda one: one.create("Job/x=Complete"), "conditions='Job/x=Complete': expected a list"),
    (Gate, lambda one: one.create([5]), "conditions=5: expected str or GateCondition"),
    (Gate, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
    (WaitGroup, lambda one: one.add("3"), "delta='3': expected int"),
    (WaitGroup, lambda one: one.done("3"), "delta='3': expected int"),
    (WaitGroup, lambda one: one.wait(timeout=5), f"timeout=5: {A_DURATION}"),
]


@pytest.mark.parametrize(("kind", "call", "said"), CASES, ids=[said.split(":")[0] for *_, said in CASES])
async def test_an_argument_of_another_type_is_named(kind: type[Any], call: Callable[[Any], Awaitable[Any]], said: str):
    """Before anything is sent: a number of seconds, say, where a duration is expected."""
    transport = ScriptedTransport()
    with pytest.raises(TypeError, match=re.escape(said)):
        await call(kind("x", Client.from_kube(transport, "default")))
    assert transport.sent == []
