"""Internal. API objects on stdout: as a table, JSON, YAML or names. Bytes of the server are passed on, not re-modelled.

``-o json`` and ``-o yaml`` show what the server sent, with fields that this version does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import yaml

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Function
from kontinue_engine.cli.execution_tree import duration_of, progress_text, waiting_text
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.signatures import format_signature
from kontinue_engine.cli.text import format_age, format_duration, format_table, shorten

_MAX_CELL = 60


def format_raw(documents: Sequence[msgspec.Raw], *, output: OutputFormat, as_list: bool, plural: str) -> str:
    """Return objects as JSON, YAML or names.

    Args:
        documents: the objects as the server sent them.
        output: json, yaml or name.
        as_list: whether to wrap them in a v1 List, as kubectl does, even if it is one.
        plural: resource, for names: ``executions.kontinue.cloud/NAME``.
    """
    values: list[dict[str, Any]] = [msgspec.json.decode(document) for document in documents]
    if output is OutputFormat.NAME:
        return "\n".join(f"{plural}.{labels.GROUP}/{value['metadata']['name']}" for value in values)
    document: Any = {"apiVersion": "v1", "kind": "List", "items": values} if as_list else values[0]
    if output is OutputFormat.YAML:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n")
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def execution_table(executions: Sequence[Execution], now: datetime, *, wide: bool, with_namespace: bool) -> str:
    """Return the table of ``kontinue get``."""
    header = ["NAME", "FUNCTION", "PHASE", "ATTEMPT", "AGE", "WAITING-FOR"]
    if wide:
        header += ["DURATION", "RESUMED", "WORKER", "REASON", "MESSAGE"]
    rows = []
    for execution in executions:
        status, metadata = execution.status, execution.metadata
        waiting = waiting_text(execution, now)
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
        rows.append([metadata.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows)


def function_table(functions: Sequence[Function], *, wide: bool, with_namespace: bool) -> str:
    """Return the table of ``kontinue functions``."""
    header = ["NAME", "GROUP", "SIGNATURE" if wide else "DESCRIPTION"]
    rows = []
    for function in functions:
        about = format_signature(function) if wide else shorten(function.spec.description, _MAX_CELL)
        row = [function.spec.name, function.spec.worker_group, about]
        rows.append([function.metadata.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows)
