"""Internal. What Executions are told that wait for a mutex or a slot, or would wait for ever. Pure.

Used where such waits are found: ``controllers.admission`` for what a replica may start, ``coordinator.limits`` for what
the leader of a sharded group gives to replicas. ``decide`` makes a status of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kontinue_engine.lifecycle.observed import Obstacle

TELL_AFTER_MS: Final = 1_000
"""A wait that is over sooner is not worth a write. Judgement; what nobody holds is granted in milliseconds."""
MUTEX: Final = "Mutex"
FUNCTION: Final = "Function"
MUTEX_HELD_BY_ANCESTOR: Final = "MutexHeldByAncestor"
CONCURRENCY_HELD_BY_ANCESTOR: Final = "ConcurrencyHeldByAncestor"


def held_message(holder: str) -> str:
    """Return what somebody is told who waits for a mutex; ``holder`` is a name, or empty if nobody has it."""
    return f"Execution {holder} holds it" if holder else "it waits for its turn"


def behind_message() -> str:
    """Return what somebody is told who waits for a mutex and is not among the next: it stays true for long."""
    return "others wait for it too, and come first"


def full_message(holders: Mapping[str, str], limit: int) -> str:
    """Return what somebody is told who waits for a slot; ``holders`` are uid -> name."""
    some = next(iter(holders.values()), "")
    return f"{len(holders)} run already, and its limit is {limit}: for example Execution {some}"


def refusal(kind: str, name: str, holders: Mapping[str, str]) -> Obstacle:
    """Return what makes an Execution fail whose ancestors hold all that it waits for."""
    names = ", ".join(sorted(holders.values()))
    if kind == MUTEX:
        reason = MUTEX_HELD_BY_ANCESTOR
        what = f"mutex {name!r} is held by Execution {names}, an ancestor of this one"
        remedy = "Give the child no mutex, or start it as a root"
    else:
        reason = CONCURRENCY_HELD_BY_ANCESTOR
        what = f"all slots of function {name} are taken by ancestors of this Execution: {names}"
        remedy = "Raise the function's limit, call its code as plain Python, or start it as a root"
    message = f"{what}: each would wait for the other. {remedy}"
    return Obstacle(kind=kind, name=name, message=message, tell_from_ms=0, refusal=reason)
