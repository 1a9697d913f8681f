"""How operations change the status of a WaitGroup. Pure.

The counter, its phase and the ids of the operations that made it are one value, written by one conditional write: so
they cannot contradict each other, and an operation whose answer got lost is recognised by its id when it is repeated
(docs/adr/0023-operations-count-once.md). Applied by clients (``kontinue.sync``), and by the coordinator for holders
that are gone and for counters that somebody has edited.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from kontinue import errors
from kontinue.api.konductor.group import Holder, identity_of
from kontinue.api.konductor.wait_groups import (
    MAX_COUNTER,
    MAX_HOLDERS,
    MAX_OPERATIONS,
    MAX_WRITERS,
    WaitGroupHolder,
    WaitGroupPhase,
    WaitGroupStatus,
)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One add or done.

    Attributes:
        delta: what is added to the counter.
        id: counts once; empty for one that is not repeated by its caller.
        holder: whose part of the counter it changes, with its uid; None: nobody's.
        clamp: stop at 0 instead of failing.
    """

    delta: int
    id: str = ""
    holder: Holder | None = None
    clamp: bool = False


class Counted(msgspec.Struct, frozen=True):
    """What became of several operations that were applied together.

    Attributes:
        status: to be written; that of before, itself, if nothing changes.
        answers: for each operation the counter after it, or why it was refused.
    """

    status: WaitGroupStatus
    answers: Sequence[int | errors.InvalidState]


class Write(msgspec.Struct, frozen=True):
    """The latest write of a writer, as ``status.writers`` has it.

    Attributes:
        writer: who makes one write after the other; without a dot.
        number: how many writes there were with it, by anybody.
        goes_on_for_s: how long more writes of its turn are to follow, in seconds; 0: none before its next turn;
            None: none at all, as far as is known.
    """

    writer: str
    number: int
    goes_on_for_s: float | None = None

    def __str__(self) -> str:
        """Return it as it is stored."""
        text = f"{self.writer}.{self.number}"
        return text if self.goes_on_for_s is None else f"{text}+{round(self.goes_on_for_s * 1e6)}"


def write_of(stored: str) -> Write:
    """Return a write from ``status.writers``; what a person has written there is nobody's."""
    write, _, us = stored.partition("+")
    writer, _, number = write.rpartition(".")
    if not (number.isdecimal() and (us or "0").isdecimal()):
        return Write(stored, 0)
    return Write(writer, int(number), int(us) / 1e6 if us else None)


def count(
    status: WaitGroupStatus, operations: Sequence[Operation], *, writer: str, goes_on_for_s: float | None = None
) -> Counted:
    """Apply operations in their order; one that is refused leaves no trace, and the others are applied.

    Args:
        status: as it is stored.
        operations: what was asked for meanwhile.
        writer: who writes; see ``Write``.
        goes_on_for_s: see ``Write``.
    """
    before = status
    answers: list[int | errors.InvalidState] = []
    for one in operations:
        try:
            known = _known(status, one)
            changed = status if known else _changed(status, one)
        except errors.InvalidState as refusal:
            answers.append(refusal)
            continue
        if one.id and not known:
            changed = _remembered(changed, one)
        status = changed
        answers.append(status.counter or 0)
    if status == before:
        return Counted(before, answers)
    return Counted(_written(status, Write(writer, status.write_count + 1, goes_on_for_s)), answers)


def has_counted(status: WaitGroupStatus, write: Write) -> bool:
    """Tell whether a write has been carried out, as far as is remembered."""
    return any(
        (one.writer, one.number) == (write.writer, write.number) for one in map(write_of, reversed(status.writers))
    )


def may_have_forgotten(status: WaitGroupStatus, *, since: int) -> bool:
    """Tell whether a write may have been carried out and forgotten since ``write_count`` was ``since``.

    The status has been written since then: by more than it remembers, or by somebody who has dropped what was
    remembered, or counts no writes: a person, or a program that knows nothing of it.
    """
    written = status.write_count - since
    return written <= 0 or (written > MAX_WRITERS and len(status.writers) >= MAX_WRITERS)


def is_unwritten(status: WaitGroupStatus, *, since: WaitGroupStatus) -> bool:
    """Tell whether nobody has counted since the status was ``since``, but something else of the object was changed.

    As far as that can be seen: who numbers no writes, as programs of the original, may have undone what was counted.
    """
    return status == since and (since.write_count > 0 or since == WaitGroupStatus())


def remembers(status: WaitGroupStatus, operation_id: str) -> bool:
    """Tell whether an operation that has an id of its caller's was counted, as far as is remembered."""
    return any(one.rpartition(" ")[0] == operation_id for one in status.operations)


def may_have_forgotten_operations(status: WaitGroupStatus) -> bool:
    """Tell whether there were more operations with ids of their callers' than are remembered."""
    return status.operation_count > len(status.operations)


def settled(status: WaitGroupStatus) -> WaitGroupStatus:
    """Return the status with all that follows from the counter: a person may have edited it, or written it alone."""
    return _at(status, max(0, status.counter or 0), added=status.added, rounds=status.rounds)


def released(status: WaitGroupStatus, gone: Collection[str]) -> WaitGroupStatus:
    """Return the status without what these holders, each by its ``identity_of``, have held."""
    dropped = sum(one.count for one in status.holders if identity_of(one) in gone)
    if not dropped:
        return status
    kept = [one for one in status.holders if identity_of(one) not in gone]
    return _with_counter(msgspec.structs.replace(status, holders=kept), max(0, (status.counter or 0) - dropped))


def numbered(status: WaitGroupStatus) -> WaitGroupStatus:
    """Return the status as somebody writes it who knows of the writers but is none: nothing was dropped."""
    return msgspec.structs.replace(status, write_count=status.write_count + 1)


def _known(status: WaitGroupStatus, operation: Operation) -> bool:
    if not operation.id:
        return False
    for one in status.operations:
        known_id, _, delta = one.rpartition(" ")
        if known_id == operation.id:
            if delta != f"{operation.delta:+}":
                raise errors.InvalidState(
                    f"operation {operation.id!r} has been counted with delta {delta}, and is repeated with "
                    f"{operation.delta:+}: an id stands for one operation only"
                )
            return True
    return False


def _changed(stored: WaitGroupStatus, operation: Operation) -> WaitGroupStatus:
    status = settled(stored)
    counter, delta = status.counter or 0, operation.delta
    held = counter if operation.holder is None else _held(status, operation.holder)
    unbound = counter - sum(one.count for one in status.holders)
    least = -held if operation.holder is not None else -unbound
    if delta < least:
        if not operation.clamp:
            raise errors.InvalidState(_too_few(status, operation))
        delta = least
    if counter + delta > MAX_COUNTER:
        raise errors.InvalidState(f"the counter is {counter}: adding {delta} would exceed {MAX_COUNTER}")
    if not delta:
        return stored
    if operation.holder is not None:
        status = _with_holder(status, operation.holder, held + delta)
    return _with_counter(status, counter + delta)


def _too_few(status: WaitGroupStatus, operation: Operation) -> str:
    counter, wanted = status.counter or 0, -operation.delta
    if operation.holder is not None:
        held = _held(status, operation.holder)
        return f"{operation.holder} holds {held} of the counter {counter}: {wanted} cannot be done for it"
    bound = sum(one.count for one in status.holders)
    if bound and wanted <= counter:
        return f"the counter is {counter}, of which {bound} belong to holders: name the holder whose part is done"
    return f"the counter is {counter}: it cannot go below 0 by {wanted} done"


def _held(status: WaitGroupStatus, holder: Holder) -> int:
    return next((one.count for one in status.holders if one.uid == holder.uid), 0)


def _with_holder(status: WaitGroupStatus, holder: Holder, held: int) -> WaitGroupStatus:
    holders = [one for one in status.holders if one.uid != holder.uid]
    if held:
        if len(holders) >= MAX_HOLDERS:
            raise errors.InvalidState(f"the WaitGroup has {MAX_HOLDERS} holders already: use another one")
        holders.append(WaitGroupHolder(kind=holder.kind, name=holder.name, uid=holder.uid, count=held))
    return msgspec.structs.replace(status, holders=holders)


def _with_counter(status: WaitGroupStatus, counter: int) -> WaitGroupStatus:
    before = status.counter or 0
    added = status.added + max(0, counter - before)
    return _at(status, counter, added=added, rounds=status.rounds + (1 if before and not counter else 0))


def _at(status: WaitGroupStatus, counter: int, *, added: int, rounds: int) -> WaitGroupStatus:
    """Return the status with a counter, and all that follows from that."""
    held = 0
    holders: list[WaitGroupHolder] = []
    for one in status.holders:
        kept = min(one.count, counter - held)
        held += kept
        if kept:
            holders.append(msgspec.structs.replace(one, count=kept))
    return msgspec.structs.replace(
        status,
        counter=counter,
        phase=WaitGroupPhase.WAITING if counter else WaitGroupPhase.DONE,
        added=max(added, counter),
        rounds=rounds,
        holders=holders,
        done_at=None if counter else status.done_at,
    )


def _remembered(status: WaitGroupStatus, operation: Operation) -> WaitGroupStatus:
    return msgspec.structs.replace(
        status,
        operations=[*status.operations, f"{operation.id} {operation.delta:+}"][-MAX_OPERATIONS:],
        operation_count=status.operation_count + 1,
    )


def _written(status: WaitGroupStatus, write: Write) -> WaitGroupStatus:
    """A writer's latest write stands for those before: it was begun when they were known to have counted, or not."""
    prefix = f"{write.writer}."
    writers = status.writers
    is_next = bool(writers) and writers[-1].startswith(prefix)  # as most are: the others need not be looked at
    others = writers[:-1] if is_next else [one for one in writers if not one.startswith(prefix)]
    return msgspec.structs.replace(status, writers=[*others, str(write)][-MAX_WRITERS:], write_count=write.number)
