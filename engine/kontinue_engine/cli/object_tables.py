"""Internal. Executions and Functions as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kontinue.api.v1alpha1 import Execution, Function
from kontinue_engine.cli.execution_tree import awaited_text, duration_of, progress_text
from kontinue_engine.cli.signatures import format_signature
from kontinue_engine.cli.text import format_age, format_duration, format_table, shorten

_MAX_CELL = 60


def execution_table(
    executions: Sequence[Execution], now: datetime, *, wide: bool, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue get``, cut to ``width`` columns of a terminal."""
    rows = (execution_row(one, now, wide=wide, with_namespace=with_namespace) for one in executions)
    return format_table(execution_header(wide=wide, with_namespace=with_namespace), rows, width=width)


def execution_header(*, wide: bool, with_namespace: bool) -> list[str]:
    """Return what stands above the columns of ``execution_row``."""
    header = ["NAME", "FUNCTION", "PHASE", "ATTEMPT", "AGE", "WAITING-FOR"]
    header += ["DURATION", "RESUMED", "WORKER", "REASON", "MESSAGE"] if wide else []
    return ["NAMESPACE", *header] if with_namespace else header


def execution_row(execution: Execution, now: datetime, *, wide: bool, with_namespace: bool) -> list[str]:
    """Return an Execution as a row of ``kontinue get``."""
    status, metadata = execution.status, execution.metadata
    waiting = awaited_text(execution, now)
    row = [
        metadata.name,
        execution.spec.function,
        execution.phase.value + (", archived" if execution.is_archived else ""),
        str(status.attempt_count),
        format_age(metadata.creation_timestamp, now),
        waiting if wide else shorten(waiting, _MAX_CELL),
    ]
    if wide:
        row += [
            format_duration(duration_of(execution, now)),
            str(status.resumptions),
            status.owner.shard if status.owner else "",
            status.reason,
            status.message or progress_text(execution, now),
        ]
    return [metadata.namespace, *row] if with_namespace else row


def function_table(functions: Sequence[Function], *, wide: bool, with_namespace: bool, width: int | None = None) -> str:
    """Return the table of ``kontinue functions``, cut to ``width`` columns of a terminal."""
    header = ["NAME", "GROUP", "SIGNATURE" if wide else "DESCRIPTION"]
    rows = []
    for function in functions:
        about = format_signature(function) if wide else shorten(function.spec.description, _MAX_CELL)
        row = [function.spec.name, function.spec.worker_group, about]
        rows.append([function.metadata.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)
