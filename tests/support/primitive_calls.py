"""One call of each method of ``kontinue.sync``, of either colour."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kontinue import sync
from kontinue.sync import Holder, HolderKind

KINDS = ("Barrier", "Gate", "Lease", "Mutex", "Once", "RWMutex", "Semaphore", "WaitGroup")
POD = Holder(kind=HolderKind.POD, name="worker")


def enter(scope: Any) -> Any:
    """Hold it: for threads at once, else when it is awaited."""
    if not hasattr(scope, "__aenter__"):
        with scope:
            return None

    async def entered() -> None:
        async with scope:
            pass

    return entered()


def work(_: object) -> None:
    """Do nothing."""


CALLS: dict[str, Callable[[Any], Any]] = {
    "Barrier.arrive": lambda one: one.arrive("me"),
    "Barrier.create": lambda one: one.create(),
    "Barrier.create one that exists": lambda one: one.create(),
    "Barrier.delete": lambda one: one.delete(),
    "Barrier.get": lambda one: one.get(),
    "Barrier.status": lambda one: one.status(),
    "Gate.check": lambda one: one.check(),
    "Gate.close": lambda one: one.close(),
    "Gate.create": lambda one: one.create(["Job/j=Complete"]),
    "Gate.delete": lambda one: one.delete(),
    "Gate.get": lambda one: one.get(),
    "Gate.open": lambda one: one.open(),
    "Gate.reset": lambda one: one.reset(),
    "Gate.status": lambda one: one.status(),
    "Lease.create": lambda one: one.create(),
    "Lease.delete": lambda one: one.delete(),
    "Lease.get": lambda one: one.get(),
    "Lease.is_available": lambda one: one.is_available(),
    "Lease.release": lambda one: one.release(holder="other"),
    "Lease.renew": lambda one: one.renew(holder="other"),
    "Lease.requests": lambda one: one.requests(),
    "Lease.status": lambda one: one.status(),
    "Mutex.create": lambda one: one.create(),
    "Mutex.delete": lambda one: one.delete(),
    "Mutex.get": lambda one: one.get(),
    "Mutex.is_locked": lambda one: one.is_locked(),
    "Mutex.status": lambda one: one.status(),
    "Mutex.unlock": lambda one: one.unlock(holder="other"),
    "Once.create": lambda one: one.create(),
    "Once.delete": lambda one: one.delete(),
    "Once.get": lambda one: one.get(),
    "Once.is_executed": lambda one: one.is_executed(),
    "Once.status": lambda one: one.status(),
    "RWMutex.create": lambda one: one.create(),
    "RWMutex.delete": lambda one: one.delete(),
    "RWMutex.get": lambda one: one.get(),
    "RWMutex.status": lambda one: one.status(),
    "RWMutex.unlock": lambda one: one.unlock(holder="other"),
    "Semaphore.create": lambda one: one.create(),
    "Semaphore.delete": lambda one: one.delete(),
    "Semaphore.get": lambda one: one.get(),
    "Semaphore.permits": lambda one: one.permits(),
    "Semaphore.release": lambda one: one.release("me"),
    "Semaphore.status": lambda one: one.status(),
    "WaitGroup.add": lambda one: one.add(),
    "WaitGroup.add for a holder": lambda one: one.add(holder=POD),
    "WaitGroup.create": lambda one: one.create(),
    "WaitGroup.delete": lambda one: one.delete(),
    "WaitGroup.done": lambda one: one.done(),
    "WaitGroup.get": lambda one: one.get(),
    "WaitGroup.status": lambda one: one.status(),
}
"""Those that do not wait for others."""
WAITS: dict[str, Callable[[Any, timedelta | None], Any]] = {
    "Barrier.wait": lambda one, limit: one.wait(timeout=limit),
    "Barrier.wait_until": lambda one, limit: one.wait_until(lambda _: False, timeout=limit),
    "Gate.wait": lambda one, limit: one.wait(timeout=limit),
    "Gate.wait_until": lambda one, limit: one.wait_until(lambda _: False, timeout=limit),
    "Lease.acquire": lambda one, limit: one.acquire(timeout=limit),
    "Lease.acquire for a Pod": lambda one, limit: one.acquire(timeout=limit, holder=POD),
    "Lease.acquire with progress": lambda one, limit: one.acquire(timeout=limit, on_progress=print),
    "Lease.held": lambda one, limit: enter(one.held(timeout=limit)),
    "Mutex.held": lambda one, limit: enter(one.held(timeout=limit)),
    "Mutex.lock": lambda one, limit: one.lock(timeout=limit),
    "Mutex.lock for a Pod": lambda one, limit: one.lock(timeout=limit, holder=POD),
    "Once.do": lambda one, limit: one.do(work, timeout=limit),
    "Once.running": lambda one, limit: enter(one.running(timeout=limit)),
    "RWMutex.held": lambda one, limit: enter(one.held(timeout=limit)),
    "RWMutex.lock": lambda one, limit: one.lock(timeout=limit),
    "RWMutex.reading": lambda one, limit: enter(one.reading(timeout=limit)),
    "RWMutex.rlock": lambda one, limit: one.rlock(timeout=limit),
    "Semaphore.acquire": lambda one, limit: one.acquire(timeout=limit),
    "Semaphore.acquire for a Pod": lambda one, limit: one.acquire(timeout=limit, bound_to=POD),
    "Semaphore.acquire with progress": lambda one, limit: one.acquire(timeout=limit, on_progress=print),
    "Semaphore.hold": lambda one, limit: enter(one.hold(timeout=limit)),
    "WaitGroup.wait": lambda one, limit: one.wait(timeout=limit),
}
"""Those that wait, none of which gets what it waits for."""


def subject(call: str, client: Any, *, prefix: str = "") -> Any:
    """Return the object that a call is about: ``x``, or ``new`` for one that creates it.

    Args:
        call: one of ``CALLS`` or ``WAITS``.
        client: of the colour of ``prefix``.
        prefix: ``Sync`` for threads.
    """
    kind, _, method = call.partition(".")
    return getattr(sync, prefix + kind)("new" if method == "create" else "x", client)


def methods() -> set[str]:
    """Return all that there are to be called."""
    return {
        f"{kind}.{name}"
        for kind in KINDS
        for name, _ in inspect.getmembers(getattr(sync, kind), inspect.isfunction)
        if not name.startswith("_")
    }
