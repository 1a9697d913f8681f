from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.reads import tables
from kontinue_engine.apiserver.resources import Column, ResourceInfo

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def test_an_execution_is_printed_with_its_columns(execution_resource: ResourceInfo):
    """What ``kubectl get executions`` shows; wide columns have a priority."""
    obj = {
        "metadata": {"name": "hello-1", "creationTimestamp": "2026-11-20T11:55:00Z"},
        "spec": {"function": "hello"},
        "status": {
            "phase": "Executing",
            "attemptCount": 2,
            "waitingFor": [{"kind": "Execution", "name": "hello-1-child"}, {"kind": "Timer"}],
        },
    }
    table = tables.build_table(execution_resource.columns, [obj], {"resourceVersion": "7"}, NOW)
    assert table["metadata"] == {"resourceVersion": "7"}
    columns = table["columnDefinitions"]
    shown = [column["name"] for column in columns if not column["priority"]]
    assert shown == ["Name", "Function", "Phase", "Attempt", "Waiting-For", "Age"]
    (row,) = table["rows"]
    assert row["cells"][: len(shown)] == ["hello-1", "hello", "Executing", 2, "hello-1-child", "5m"]
    assert len(row["cells"]) == len(columns)
    assert row["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def test_an_object_without_status_has_empty_cells(execution_resource: ResourceInfo):
    """Nothing is invented for what is not there."""
    obj = {"metadata": {"name": "a"}, "spec": {"function": "f"}}
    (row,) = tables.build_table(execution_resource.columns, [obj], {}, NOW)["rows"]
    assert row["cells"][:2] == ["a", "f"]
    assert set(row["cells"][2:]) == {None}


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("string", "text", "text"),
        ("string", 1, "1"),
        ("string", {"a": [1]}, '{"a":[1]}'),
        ("string", False, "false"),
        ("integer", 3, 3),
        ("integer", 3.7, 3),
        ("integer", "3", None),
        ("integer", True, None),
        ("number", 1.5, 1.5),
        ("number", True, None),
        ("boolean", True, True),
        ("boolean", "true", None),
        ("date", "2026-11-20T13:00:00+02:00", "60m"),
        ("date", "2026-11-20T13:00:00Z", "<invalid>"),
        ("date", "never", "<invalid>"),
        ("date", "", "<unknown>"),
        ("date", 5, None),
        ("string", 2.0, "2"),
        ("string", -1.5e30, "-1.5e+30"),
        ("string", 1e-9, "1e-09"),
        ("string", {"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ("integer", 1e30, -(2**63)),
        ("date", None, None),
    ],
)
def test_cells_have_the_type_of_their_column(kind: str, value: Any, cell: Any):
    """A value of another type leaves the cell empty, as kube-apiserver does."""
    column = Column(name="X", type=kind, json_path=".x")
    (row,) = tables.build_table([column], [{"metadata": {"name": "a"}, "x": value}], {}, NOW)["rows"]
    assert row["cells"] == ["a", cell]


def test_every_built_in_kind_can_be_printed():
    """Even when an object holds nothing but its name."""
    for info in kinds.BUILT_IN:
        table = tables.build_table(info.columns, [{"metadata": {"name": "a"}}], {}, NOW)
        assert table["rows"][0]["cells"][0] == "a"
