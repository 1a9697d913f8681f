"""What the ledger and the objects must say. Pure; each judge is tested with a promise that was broken on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kontinue.api.konductor.onces import OnceStatus
from kontinue.api.konductor.wait_groups import WaitGroupStatus
from primitives_chaos.book import Event, Line


class Held(msgspec.Struct, frozen=True):
    """What the ledger says of who held something.

    Attributes:
        most: at the same time.
        times: how often it was entered.
        late: how often somebody was still inside although he had lost it, as he found: fencing tokens are for that.
        violations: what must never be.
    """

    most: int
    times: int
    late: int
    violations: list[str]


def judge_held(lines: Sequence[Line], subject: str, *, room: int, late_s: float = 0.0) -> Held:
    """Judge who held an object.

    Args:
        lines: the ledger.
        subject: the object.
        room: so many at a time, readers aside, of whom any number share one place.
        late_s: who has lost it may find so only this long after the next one has entered.
    """
    lost_s = _losses(lines)
    inside: dict[str, Line] = {}
    most = late = 0
    violations: list[str] = []
    entered = [line for line in lines if line.subject == subject and line.event is Event.ENTERED]
    for line in lines:
        if line.event is Event.DIED:
            inside = {id_: one for id_, one in inside.items() if one.pid != line.pid}
        elif line.subject != subject:
            continue
        elif line.event in {Event.LEFT, Event.LOST}:
            inside.pop(line.id, None)
        elif line.event is Event.ENTERED:
            inside[line.id] = line
            most = max(most, len(inside))
            if _places(list(inside.values())) <= room:
                continue
            others = [one for one in inside.values() if one is line or not _is_late(one, line, lost_s, late_s)]
            if _places(others) <= room:
                late += 1
            else:
                violations.append(f"{subject} has room for {room}, and inside are {_names(list(inside.values()))}")
    return Held(most, len(entered), late, violations + judge_tokens(lines, subject, late_s=late_s))


def judge_tokens(lines: Sequence[Line], subject: str, *, late_s: float) -> list[str]:
    """Each token is another one, and higher than those of all who have left before; of readers: of all writers.

    ``late_s``: as of ``judge_held``, for one that enters although he has lost it.
    """
    lost_s = _losses(lines)
    known: dict[str, Line] = {}
    left: list[Line] = []
    violations: list[str] = []
    for line in lines:
        if line.subject != subject:
            continue
        if line.event is Event.ENTERED and line.token:
            before = max((one.token for one in left if not (one.is_shared and line.is_shared)), default=0)
            is_new = all(one.token != line.token for one in known.values() if one.id != line.id)
            if not is_new or (line.token <= before and not _is_late(line, line, lost_s, late_s)):
                violations.append(f"{subject}: {line.who} has token {line.token} after {before}")
            known[line.id] = line
        elif line.event is Event.LEFT and line.id in known:
            left.append(known[line.id])
    return violations


def judge_opening(lines: Sequence[Line], subject: str, *, required: int, waiting: int, opened: str = "") -> list[str]:
    """Nobody goes on before so many different ones meant to be done or to arrive, and in the end all have gone on.

    ``opened``: what they wait for, if it is not the subject itself.
    """
    opened = opened or subject
    meant: set[str] = set()
    gone_on: set[str] = set()
    violations: list[str] = []
    for line in lines:
        if line.event is Event.MEANS_TO and line.subject == subject:
            meant.add(line.id)
        elif line.event is Event.OPENED and line.subject == opened:
            gone_on.add(line.who)
            if len(meant) < required:
                violations.append(f"{opened}: {line.who} goes on after {len(meant)} of {required} of {subject}")
    if len(gone_on) != waiting:
        violations.append(f"{opened}: {len(gone_on)} of {waiting} have gone on")
    return violations


def judge_once(lines: Sequence[Line], subject: str, status: OnceStatus) -> list[str]:
    """It was executed, to its end, by the last who tried."""
    if not status.executed:
        return [f"{subject} is not executed: {status}"]
    tries = {line.id: line for line in lines if line.subject == subject and line.event is Event.ENTERED}
    ends = {line.id for line in lines if line.subject == subject and line.event is Event.LEFT}
    violations = [
        f"{subject}: {one.who} has tried it, token {one.token}, after it was executed with {status.token}"
        for one in tries.values()
        if one.token > status.token
    ]
    if not any(one.token == status.token and id_ in ends for id_, one in tries.items()):
        violations.append(f"{subject} counts as executed, and its try {status.token} has not come to its end")
    return violations


def judge_counter(name: str, status: WaitGroupStatus, *, added: int) -> list[str]:
    """All that was added was done, each once."""
    found = (status.counter, status.rounds, status.added, len(status.holders))
    return [] if found == (0, 1, added, 0) else [f"{name} has counted wrongly: {status}"]


def _losses(lines: Sequence[Line]) -> dict[str, float]:
    """Return when each of those who have lost what they held was told so."""
    losses: dict[str, float] = {}
    for line in lines:
        if line.event is Event.LOST:
            losses.setdefault(line.id, line.at_s)
    return losses


def _is_late(one: Line, entering: Line, lost_s: Mapping[str, float], late_s: float) -> bool:
    """Tell whether one of them had lost it, and found so soon enough after another has entered."""
    return one.id in lost_s and lost_s[one.id] - entering.at_s < late_s


def _places(inside: Sequence[Line]) -> int:
    """Return how many places are taken: readers share one."""
    return sum(not one.is_shared for one in inside) + any(one.is_shared for one in inside)


def _names(inside: Sequence[Line]) -> str:
    return ", ".join(f"{one.who} ({one.pid}, token {one.token})" for one in inside)
