"""What must hold of every Execution once the faults are over. Pure: objects and effects in, violations out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chaos.ledger import Effect, Ledger
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.replay.records import EMPTY_MEMO, Memo, Record, RecordKind, decode_memo


def check_all(executions: Sequence[Execution], ledger: Ledger) -> list[str]:
    """Return everything that is wrong."""
    found: list[str] = []
    children: dict[str, list[Execution]] = defaultdict(list)
    uids = {execution.metadata.uid for execution in executions}
    for execution in executions:
        for owner in execution.metadata.owner_references:
            children[owner.uid].append(execution)
            if owner.uid not in uids:
                found.append(f"{execution.metadata.name}: its parent {owner.name} is gone")
    for execution in executions:
        name, memo = execution.metadata.name, memo_of(execution)
        problems = [
            *check_end(execution, memo),
            *check_records(memo),
            *check_effects(memo, ledger.of(name)),
            *check_children(memo, children[execution.metadata.uid]),
        ]
        found += [f"{name}: {problem}" for problem in problems]
    return found


def memo_of(execution: Execution) -> Memo:
    """Return the records of an Execution."""
    state = execution.status.state
    return EMPTY_MEMO if state is msgspec.UNSET else decode_memo(state)


def check_end(execution: Execution, memo: Memo) -> Iterable[str]:
    """It was completed with the result that its arguments or records ask for."""
    if execution.phase is not Phase.COMPLETED:
        yield f"{execution.phase} instead of Completed: {execution.status.reason} {execution.status.message}"
        return
    result, wanted = msgspec.json.decode(execution.status.result), wanted_result(execution, memo)
    if result != wanted:
        yield f"its result is {result}, but it saw {wanted}"


def wanted_result(execution: Execution, memo: Memo) -> Any:
    """Return what the function must have returned: see ``chaos.app``."""
    arguments = msgspec.json.decode(execution.spec.arguments)
    match execution.spec.function:
        case "trivial":
            return arguments["n"]
        case "burn":
            return arguments["ms"]
    values: list[Any] = []
    for record in sorted(memo.records, key=_place):
        if record.kind is not RecordKind.TIMER and record.value is not msgspec.UNSET:
            value = msgspec.json.decode(record.value)
            values += value if isinstance(value, list) else [value]
    return values


def check_records(memo: Memo) -> Iterable[str]:
    """Every record stands once, in an order without gaps."""
    twice = [step for step, count in Counter(record.id for record in memo.records).items() if count > 1]
    if twice:
        yield f"recorded twice: {twice}"
    order = [record.seq for record in memo.records]
    if order != list(range(1, len(order) + 1)):
        yield f"records are out of order: {order}"


def check_effects(memo: Memo, effects: Sequence[Effect]) -> Iterable[str]:
    """What was recorded of a step is its last effect: nothing ran again that had been recorded."""
    last = {effect.step: effect for effect in effects}
    for record in memo.records:
        if record.kind is not RecordKind.STEP:
            continue
        effect = last.get(record.id)
        value = "" if record.value is msgspec.UNSET else msgspec.json.decode(record.value)
        if effect is None or str(effect.number) != value:
            yield f"step {record.id} has recorded effect {value or record.error}, its last one was {effect}"


def check_children(memo: Memo, children: Sequence[Execution]) -> Iterable[str]:
    """Each child's end is what its parent has recorded, and there is no child of which it knows nothing."""
    recorded = {record.child.name: record for record in memo.records if record.child is not None}
    for child in children:
        record = recorded.pop(child.metadata.name, None)
        if record is None or record.child is None or record.child.uid != child.metadata.uid:
            yield f"child {child.metadata.name} is not in its records"
        elif bytes(record.value or b"") != bytes(child.status.result or b""):
            yield f"child {child.metadata.name} has returned {child.status.result!r}, recorded is {record.value!r}"
    for name in recorded:
        yield f"child {name} is recorded and gone"


def _place(record: Record) -> list[int]:
    return [int(part) for part in record.id.split(".") if part.isdigit()]
