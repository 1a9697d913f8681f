"""``kontinue archive``: archives by their first parts, without reading what is in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.archives import Archive
from kontinue_engine.cli.archive_table import Table, archive_table, archive_text, rows_of

Make = Callable[..., Execution]
COLUMNS = ["Name", "Execution", "Function", "Phase", "Finished", "Executions", "Part", "Parts", "Group", "Bytes"]


def part(execution: str, number: int, of: int, now: datetime, *, delete_at: str = "", size: int = 2048) -> Any:
    name = f"{execution}-digest-{number}"
    notes = {labels.ARCHIVE_PART: f"uid-{execution} 5 5 digest {number} {of} {execution}"}
    notes |= {labels.DELETE_AT: delete_at} if delete_at else {}
    created = (now - timedelta(days=3)).isoformat()
    meta = {"name": name, "namespace": "default", "annotations": notes, "creationTimestamp": created}
    cells = [name, execution, "fulfil", "Failed", "9d", 3, number, of, "shop", size]
    return {"cells": cells, "object": {"metadata": meta}}


def table(*rows: Any) -> Table:
    columns = [{"name": name} for name in COLUMNS]
    return msgspec.convert({"metadata": {}, "columnDefinitions": columns, "rows": list(rows)}, Table)


def test_an_archive_is_one_row(now: datetime) -> None:
    """Whatever its parts are, and on which page they stand; one that is not whole says so."""
    until = (now + timedelta(days=2)).isoformat()
    first = table(part("a", 1, 2, now, delete_at=until), part("b", 1, 2, now, size=5_000_000))
    rows = rows_of([first, table(part("a", 2, 2, now))])
    lines = archive_table(rows, now, wide=True, with_namespace=True).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "NAMESPACE EXECUTION FUNCTION PHASE FINISHED EXECUTIONS SIZE DELETED AGE NAME PARTS GROUP",
        "default a fulfil Failed 9d 3 2 KiB in 48h00m 3d a-digest-1 2 shop",
        "default b fulfil Failed, 1 part missing 9d 3 5 MiB never 3d b-digest-1 2 shop",
    ]
    assert archive_table(rows[1:], now, wide=False, with_namespace=False).split("\n")[1].startswith("b  ")


def test_what_is_in_an_archive_is_its_tree(make_execution: Make, now: datetime) -> None:
    """And until when it is kept."""
    root = make_execution("a", phase=Phase.COMPLETED)
    child = make_execution("a-1", parent="a", phase=Phase.FAILED)
    archive = Archive("a-digest-1", root, [root, child], [], [])
    (row,) = rows_of([table(part("a", 1, 1, now))])
    assert archive_text(archive, row, now, color=False).splitlines() == [
        "Archive:  a-digest-1",
        "Keeps:    2 Executions, 0 Suspensions, 0 MemoPages",
        "Created:  2025-12-30T03:05:05+00:00 (3d ago)",
        "Deleted:  never",
        "",
        "✓ a (build)  Completed",
        "└─ ✗ a-1 (build)  Failed",
    ]


def test_nothing_is_archived() -> None:
    """A real server writes null for no rows."""
    assert rows_of([msgspec.convert({"metadata": {}, "rows": None}, Table)]) == []
