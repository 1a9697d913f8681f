"""Internal. One Execution in full, as text: what ``kontinue describe`` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Event
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, Phase
from kontinue.client.tree import ExecutionTreeNode
from kontinue.replay.records import Record
from kontinue_engine.cli.causes import explain_cause, memo_of, split_mismatch
from kontinue_engine.cli.execution_tree import due_text, duration_of, duration_text, parent_name
from kontinue_engine.cli.text import (
    format_age,
    format_due,
    format_duration,
    format_table,
    format_time,
    indent,
    plural,
    shorten,
)
from kontinue_engine.lifecycle.observed import HISTORY_INCOMPLETE
from kontinue_engine.lifecycle.retrying import policy_of
from kontinue_engine.lifecycle.statuses import timeout_of
from kontinue_engine.sharding.views import deaths_of

_MAX_JSON = 2000
_MAX_STEPS = 200
_BY_DEFAULT = " (the function's default)"


def describe_execution(
    execution: Execution,
    events: Sequence[Event],
    now: datetime,
    *,
    whole: bool,
    waits: Sequence[ExecutionTreeNode] = (),
) -> str:
    """Return the description.

    Args:
        execution: what to describe.
        events: of this Execution.
        now: for ages.
        whole: whether long values are shown to their end.
        waits: its Suspensions and Jobs.
    """
    sections = [
        _head(execution, now),
        _blocked(execution),
        _waiting(execution, now),
        _waits(waits, now),
        _json_section("Arguments", execution.spec.arguments, whole=whole),
        _json_section("Result", execution.status.result, whole=whole),
        _attempts(execution),
        _steps(execution, whole=whole),
        _conditions(execution, now),
        _events(execution, events, now),
    ]
    return "\n\n".join(section for section in sections if section)


def _head(execution: Execution, now: datetime) -> str:
    metadata, status = execution.metadata, execution.status
    created = metadata.creation_timestamp
    reason = f" ({status.reason})" if status.reason else ""
    asked = ", a retry is asked for" if execution.is_retry_requested else ""
    owner = status.owner
    deaths = deaths_of(metadata.annotations)
    fields = {
        "Name": metadata.name,
        "Namespace": metadata.namespace,
        "Function": execution.spec.function,
        "Phase": f"{execution.phase.value}{reason}{asked}",
        "Message": "" if execution.phase is Phase.BLOCKED else status.message,  # has a section of its own
        "Archived": f"in {archive}" if (archive := metadata.annotations.get(labels.ARCHIVED_IN)) else "",
        "Parent": parent_name(execution),
        "Root": metadata.labels.get(labels.ROOT, ""),
        "Group": metadata.labels.get(labels.WORKER_GROUP, ""),
        "Shard": metadata.labels.get(labels.SHARD, ""),
        "Worker": f"{owner.shard}, epoch {owner.epoch}" if owner else "",
        "Lost": f"{plural(deaths, 'replica')} died that had it" if deaths else "",
        "Created": f"{format_time(created)} ({format_age(created, now)} ago)" if created else "",
        "Started": format_time(status.started_at) if status.started_at else "",
        "Finished": format_time(status.finished_at) if status.finished_at else "",
        "Duration": format_duration(duration_of(execution, now)) if status.started_at or status.finished_at else "",
        "Deadline": format_time(status.deadline) if status.deadline else "",
        "Resumed": plural(status.resumptions, "time") if status.resumptions else "",
        "Crashes": f"{status.crashes} since the last recorded step" if status.crashes else "",
        **_policies(execution),
        "UID": metadata.uid,
    }
    return "\n".join(f"{label + ':':<12}{value}" for label, value in fields.items() if value)


def _policies(execution: Execution) -> dict[str, str]:
    spec, defaults = execution.spec, execution.status.defaults
    retry = policy_of(spec, execution.status, None) if spec.retry or defaults else None
    timeout = timeout_of(spec, execution.status, None)
    by_default = _BY_DEFAULT if defaults and defaults.retry else ""
    limits = {"per attempt": timeout.attempt, "overall": timeout.overall}
    limited = ", ".join(f"{value} {name}" for name, value in limits.items() if value)
    return {
        "Retry": f"{plural(retry.retries, 'retry', 'retries')}, back-off {retry.backoff}{by_default}" if retry else "",
        "Timeout": f"{limited}{'' if spec.timeout else _BY_DEFAULT}" if limited else "",
        "Mutex": spec.mutex.name if spec.mutex else "",
    }


def _blocked(execution: Execution) -> str:
    if execution.phase is not Phase.BLOCKED:
        return ""
    named = f"{execution.metadata.name}{_flags(execution)}"
    remedy = (
        "run a worker whose code matches (each new build is tried once;\n"
        f"  kontinue replay {named} MODULE:APP tells whether it does), or"
    )
    if execution.status.reason == HISTORY_INCOMPLETE:
        remedy = "restore what is missing (it is looked for again and again), or"
    over = f"kontinue retry {named} --children all"
    return (
        "Blocked:\n"
        f"{indent(split_mismatch(execution.status.message) or 'no message', '  ')}\n"
        f"  Way out: {remedy}\n"
        f"  {over}  to run all of it anew, its steps and children included, or\n"
        f"  kontinue cancel {named}"
    )


def _flags(execution: Execution) -> str:
    namespace = execution.metadata.namespace
    return f" -n {namespace}" if namespace not in {"", "default"} else ""


def _waiting(execution: Execution, now: datetime) -> str:
    lines = []
    for item in execution.status.waiting_for:
        until = f" until {format_time(item.until)} ({format_due(item.until, now)})" if item.until else ""
        message = f": {item.message}" if item.message else ""
        lines.append(f"  {' '.join(part for part in (item.kind, item.name) if part)}{until}{message}")
    return "\n".join(["Waiting for:", *lines]) if lines else ""


def _waits(waits: Sequence[ExecutionTreeNode], now: datetime) -> str:
    rows = [
        [node.kind.value, node.name, node.phase, duration_text(node, now), " ".join(_about(node, now))]
        for node in waits
    ]
    if not rows:
        return ""
    table = format_table(["KIND", "NAME", "PHASE", "DURATION", "MESSAGE"], rows)
    return f"Suspensions and Jobs:\n{indent(table, '  ')}"


def _about(node: ExecutionTreeNode, now: datetime) -> Iterator[str]:
    if node.message:
        yield node.message
    if due := due_text(node, now):
        yield f"({due})"


def _json_section(title: str, raw: msgspec.Raw | msgspec.UnsetType, *, whole: bool) -> str:
    if isinstance(raw, msgspec.UnsetType):
        return ""
    text = msgspec.json.format(bytes(raw), indent=2).decode()
    if len(text) > _MAX_JSON and not whole:
        text = f"{text[:_MAX_JSON]}\n... {len(text) - _MAX_JSON} characters more: -o wide"
    return f"{title}:\n{indent(text, '  ')}"


def _attempts(execution: Execution) -> str:
    attempts = execution.status.attempts
    if not attempts:
        return ""
    lines = [f"Attempts ({execution.status.attempt_count}):"]
    for attempt in attempts:
        lines += _attempt(execution, attempt)
    return "\n".join(lines)


def _attempt(execution: Execution, attempt: ExecutionAttempt) -> Iterator[str]:
    started, finished = attempt.started_at, attempt.finished_at
    took = format_duration(finished - started) if started and finished else ""
    parts = [
        f"  {attempt.number}",
        attempt.phase.value if attempt.phase else "",
        attempt.reason,
        took,
        f"on {attempt.worker}" if attempt.worker else "",
    ]
    yield "  ".join(part for part in parts if part)
    if attempt.message:
        yield indent(attempt.message, "     ")
    if attempt.error and attempt.error.traceback:
        yield indent(attempt.error.traceback, "     ")
    if attempt.error and (cause := explain_cause(execution, attempt.error, flags=_flags(execution))):
        yield indent(cause, "     ")


def _steps(execution: Execution, *, whole: bool) -> str:
    memo = memo_of(execution)
    if memo is None or not (memo.records or memo.timers):
        return ""
    shown = memo.records if whole else memo.records[:_MAX_STEPS]
    rows = [_step_row(record, whole=whole) for record in shown]
    rows += [
        ["", step, "timer", "", f"wakes at {format_time(datetime.fromtimestamp(at_ms / 1000, UTC))}", ""]
        for step, at_ms in memo.timers.items()
    ]
    table = format_table(["SEQ", "STEP", "KIND", "NAME", "OUTCOME", "CALLED AT"], rows)
    more = f"\n  ... {len(memo.records) - len(shown)} more: -o wide" if len(shown) < len(memo.records) else ""
    return f"Steps ({len(memo.records)} recorded):\n{indent(table, '  ')}{more}"


def _step_row(record: Record, *, whole: bool) -> list[str]:
    name = record.child.name if record.child else record.name
    if record.error is not None:
        outcome = f"{record.error.type}: {record.error.message}"
    elif isinstance(record.value, msgspec.UnsetType):
        outcome = "done"
    else:
        outcome = bytes(record.value).decode(errors="replace")
    shown = outcome if whole else shorten(outcome, 60)
    return [str(record.seq), record.id, record.kind.value, name, shown, record.line]


def _conditions(execution: Execution, now: datetime) -> str:
    rows = [
        [item.type, item.status, item.reason, format_age(item.last_transition_time, now), item.message]
        for item in execution.status.conditions
    ]
    if not rows:
        return ""
    return f"Conditions:\n{indent(format_table(['TYPE', 'STATUS', 'REASON', 'AGE', 'MESSAGE'], rows), '  ')}"


def _events(execution: Execution, events: Sequence[Event], now: datetime) -> str:
    # What blocks it has a section of its own, and is long.
    blocked = execution.status.message if execution.phase is Phase.BLOCKED else ""
    oldest = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(events, key=lambda event: event.last_timestamp or event.first_timestamp or oldest)
    rows = [
        [
            event.type,
            event.reason,
            format_age(event.last_timestamp or event.first_timestamp, now),
            _event_message(event, blocked),
        ]
        for event in ordered
    ]
    return f"Events:\n{indent(format_table(['TYPE', 'REASON', 'AGE', 'MESSAGE'], rows), '  ')}" if rows else ""


def _event_message(event: Event, blocked: str) -> str:
    message = "see above" if blocked and event.message == blocked else event.message
    return f"{message} (x{event.count})" if event.count > 1 else message
