"""What the command line says of Executions that were read from an archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import pytest
import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue_engine.cli.description import describe_execution
from kontinue_engine.cli.get import labels_in
from kontinue_engine.cli.object_tables import execution_table

Make = Callable[..., Execution]


@pytest.fixture
def archived(make_execution: Make) -> Execution:
    """Return one that stands in archive ``x-1``."""
    execution = make_execution("x", phase=Phase.COMPLETED)
    metadata = msgspec.structs.replace(execution.metadata, annotations={labels.ARCHIVED_IN: "x-1"})
    return msgspec.structs.replace(execution, metadata=metadata)


def test_what_is_archived_is_marked(archived: Execution, make_execution: Make, now: datetime) -> None:
    """In tables beside the phase, in a description by the name of the archive; nothing else is."""
    living = make_execution("y", phase=Phase.COMPLETED)
    table = execution_table([archived, living], now, wide=False, with_namespace=False)
    assert ["archived" in line for line in table.split("\n")] == [False, True, False]
    assert "Archived:   in x-1\n" in describe_execution(archived, [], now, whole=False)
    assert "Archived" not in describe_execution(living, [], now, whole=False)


def test_archives_are_selected_by_equal_labels_alone() -> None:
    """Whoever asks for more is told so, and gets no wrong list."""
    assert labels_in("") == {}
    assert labels_in("team=blue,kontinue.cloud/worker-group==g") == {"team": "blue", "kontinue.cloud/worker-group": "g"}
    for selector in ("team", "!team", "team!=blue", "team in (a,b)"):
        with pytest.raises(typer.BadParameter, match="only LABEL=VALUE"):
            labels_in(selector)
