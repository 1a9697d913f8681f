"""Internal. Archives as rows and as text: what ``kontinue archive`` prints. Pure.

Rows are read from the server's own Table of ArchivedExecutions, which has everything but the data: those are half a
mebibyte each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue import archives
from kontinue.api.meta import ListMeta, PartialObjectMetadata
from kontinue.archives import Archive
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli.execution_tree import draw_tree, format_line
from kontinue_engine.cli.text import format_age, format_due, format_table, format_time, plural

_NEVER: Final = "never"


class _Column(msgspec.Struct, frozen=True):
    name: str


class _TableRow(msgspec.Struct, frozen=True):
    cells: list[Any]
    object: PartialObjectMetadata


class Table(msgspec.Struct, frozen=True, rename="camel"):
    """``Table`` of ``meta.k8s.io/v1``."""

    metadata: ListMeta
    column_definitions: list[_Column] = []
    rows: list[_TableRow] | None = None


class ArchiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """One archive, by its first part.

    Attributes:
        name: of the ArchivedExecution with the first part.
        execution: name of the root.
        finished: how long ago it ended, as the server tells.
        executions: how many are kept.
        bytes: size of its objects.
        parts: how many there are of it.
        missing: how many of its parts are not there: it is being written, or was damaged.
        delete_at: None for never.
    """

    namespace: str
    name: str
    execution: str
    function: str
    phase: str
    finished: str
    executions: int
    bytes: int
    group: str
    parts: int
    missing: int
    delete_at: datetime | None
    created_at: datetime | None


def rows_of(tables: Iterable[Table]) -> list[ArchiveRow]:
    """Return the archives in the pages of a Table, the newest last."""
    parts: Counter[tuple[str, str]] = Counter()
    first: list[tuple[tuple[str, str], dict[str, Any], PartialObjectMetadata]] = []
    for table in tables:
        names = [column.name for column in table.column_definitions]
        for row in table.rows or ():
            meta = row.object.metadata
            key = archives.part_key(meta)
            whose = (key.uid, key.digest) if key is not None else (meta.uid, "")
            parts[whose] += 1
            cells = dict(zip(names, row.cells, strict=False))
            if cells.get("Part") == 1:
                first.append((whose, cells, row.object))
    found = [_row(cells, one, missing=(cells.get("Parts") or 1) - parts[whose]) for whose, cells, one in first]
    return sorted(found, key=lambda row: (row.created_at.timestamp() if row.created_at else 0.0, row.name))


def _row(cells: dict[str, Any], one: PartialObjectMetadata, *, missing: int) -> ArchiveRow:
    meta = one.metadata
    return ArchiveRow(
        namespace=meta.namespace,
        name=meta.name,
        execution=str(cells.get("Execution") or ""),
        function=str(cells.get("Function") or ""),
        phase=str(cells.get("Phase") or ""),
        finished=str(cells.get("Finished") or ""),
        executions=cells.get("Executions") or 1,
        bytes=cells.get("Bytes") or 0,
        group=str(cells.get("Group") or ""),
        parts=cells.get("Parts") or 1,
        missing=missing,
        delete_at=archives.delete_time(meta),
        created_at=meta.creation_timestamp,
    )


def archive_table(
    rows: Sequence[ArchiveRow], now: datetime, *, wide: bool, with_namespace: bool, width: int | None = None
) -> str:
    """Return the table of ``kontinue archive``; ``wide`` adds the objects' names and how many parts they have."""
    header = ["EXECUTION", "FUNCTION", "PHASE", "FINISHED", "EXECUTIONS", "SIZE", "DELETED", "AGE"]
    header += ["NAME", "PARTS", "GROUP"] if wide else []
    lines = []
    for row in rows:
        line = [
            row.execution,
            row.function,
            row.phase + (f", {plural(row.missing, 'part')} missing" if row.missing else ""),
            row.finished,
            str(row.executions),
            _size(row.bytes),
            format_due(row.delete_at, now) if row.delete_at else _NEVER,
            format_age(row.created_at, now),
        ]
        line += [row.name, str(row.parts), row.group] if wide else []
        lines.append([row.namespace, *line] if with_namespace else line)
    return format_table(["NAMESPACE", *header] if with_namespace else header, lines, width=width)


def archive_text(archive: Archive, row: ArchiveRow | None, now: datetime, *, color: bool) -> str:
    """Return what is in an archive: its objects, how long it is kept, and the tree."""
    kept = [
        plural(len(archive.executions), "Execution"),
        plural(len(archive.suspensions), "Suspension"),
        plural(len(archive.pages), "MemoPage"),
    ]
    fields = {"Archive": archive.name, "Keeps": ", ".join(kept)}
    if row is not None:
        if row.created_at is not None:
            fields["Created"] = f"{format_time(row.created_at)} ({format_age(row.created_at, now)} ago)"
        when = row.delete_at
        fields["Deleted"] = f"{format_time(when)} ({format_due(when, now)})" if when else _NEVER
    head = "\n".join(f"{label + ':':<10}{value}" for label, value in fields.items())
    tree = build_tree(archive.root, [*archive.executions, *archive.suspensions])
    return "\n".join([head, "", *(format_line(line, color=color) for line in draw_tree(tree, now))])


def _size(size: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size = round(size / 1024)
    return f"{size} GiB"
