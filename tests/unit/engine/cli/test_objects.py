"""Objects on stdout."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
import yaml

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, ExecutionOwner, Phase, WaitingFor
from kontinue_engine.cli import object_tables, objects
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.watched_rows import News

Make = Callable[..., Execution]
RAW = msgspec.Raw(b'{"metadata":{"name":"x"},"unknown":1}')


def test_the_table_of_executions(make_execution: Make, now: datetime) -> None:
    """The columns of the contract; wide adds more, -A the namespace."""
    execution = make_execution(
        "x",
        phase=Phase.SUSPENDED,
        attempt_count=1,
        waiting_for=[WaitingFor(kind="Execution", name="x-1")],
        owner=ExecutionOwner(shard="host", incarnation="i", epoch=1),
    )
    table = object_tables.execution_table([execution, make_execution("y")], now, wide=False, with_namespace=False)
    assert [line.split() for line in table.split("\n")] == [
        ["NAME", "FUNCTION", "PHASE", "ATTEMPT", "AGE", "WAITING-FOR"],
        ["x", "build", "Suspended", "1", "60s", "Execution", "x-1"],
        ["y", "build", "Pending", "0", "60s"],
    ]
    wide = object_tables.execution_table([execution], now, wide=True, with_namespace=True)
    assert wide.split("\n")[0].split()[0] == "NAMESPACE"
    assert "host" in wide


def test_json_and_yaml_keep_what_we_do_not_know() -> None:
    """A newer server's fields are shown."""
    one = objects.format_raw([RAW], output=OutputFormat.JSON, as_list=False)
    assert msgspec.json.decode(one)["unknown"] == 1
    many = objects.format_raw([RAW, RAW], output=OutputFormat.YAML, as_list=True)
    assert yaml.safe_load(many)["kind"] == "List"
    assert len(yaml.safe_load(many)["items"]) == 2


def test_names_can_be_piped_to_kubectl() -> None:
    """With resource and group, as kubectl prints them."""
    assert objects.format_raw([RAW], output=OutputFormat.NAME, as_list=True) == ("executions.kontinue.cloud/x")


def test_a_pending_execution_says_for_whom_it_waits(make_execution: Make, now: datetime) -> None:
    """Nobody has written it into its status yet: that is what it waits for."""
    execution = make_execution("x")
    labelled = msgspec.structs.replace(execution.metadata, labels={labels.WORKER_GROUP: "shop"})
    execution = msgspec.structs.replace(execution, metadata=labelled)
    table = object_tables.execution_table([execution], now, wide=False, with_namespace=False)
    assert table.endswith("Worker of group shop")


def test_what_is_overdue_is_no_negative_time(make_execution: Make, now: datetime) -> None:
    """A timer whose time has come says since when."""
    waiting = [WaitingFor(kind="Timer", until=now - timedelta(seconds=12))]
    execution = make_execution("x", phase=Phase.SUSPENDED, waiting_for=waiting)
    table = object_tables.execution_table([execution], now, wide=False, with_namespace=False)
    assert table.endswith("Timer due 12s ago")


def test_names_of_nothing_are_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty line would be a name for whoever reads it."""
    objects.print_objects([], output=OutputFormat.NAME, as_list=True)
    assert capsys.readouterr().out == ""


def test_a_watch_tells_each_change_once(make_execution: Make) -> None:
    """A list that comes again, after a watch was cut, tells only what is new."""

    def version(name: str, number: int) -> Execution:
        execution = make_execution(name)
        metadata = msgspec.structs.replace(execution.metadata, resource_version=str(number))
        return msgspec.structs.replace(execution, metadata=metadata)

    news = News()
    assert [one.metadata.name for one in news.of_list([version("b", 2), version("a", 1)])] == ["a", "b"]
    assert [one.metadata.name for one in news.of_change(version("a", 3))] == ["a"]
    assert [one.metadata.name for one in news.of_list([version("a", 3), version("b", 4)])] == ["b"]
