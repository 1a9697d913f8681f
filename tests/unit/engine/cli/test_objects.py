"""Objects on stdout."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import yaml

from kontinue.api.v1alpha1 import Execution, ExecutionOwner, Phase, WaitingFor
from kontinue_engine.cli import objects
from kontinue_engine.cli.options import OutputFormat

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
    table = objects.execution_table([execution, make_execution("y")], now, wide=False, with_namespace=False)
    assert [line.split() for line in table.split("\n")] == [
        ["NAME", "FUNCTION", "PHASE", "ATTEMPT", "AGE", "WAITING-FOR"],
        ["x", "build", "Suspended", "1", "60s", "Execution", "x-1"],
        ["y", "build", "Pending", "0", "60s"],
    ]
    wide = objects.execution_table([execution], now, wide=True, with_namespace=True)
    assert wide.split("\n")[0].split()[0] == "NAMESPACE"
    assert "host" in wide


def test_json_and_yaml_keep_what_we_do_not_know() -> None:
    """A newer server's fields are shown."""
    one = objects.format_raw([RAW], output=OutputFormat.JSON, as_list=False, plural="executions")
    assert msgspec.json.decode(one)["unknown"] == 1
    many = objects.format_raw([RAW, RAW], output=OutputFormat.YAML, as_list=True, plural="executions")
    assert yaml.safe_load(many)["kind"] == "List"
    assert len(yaml.safe_load(many)["items"]) == 2


def test_names_can_be_piped_to_kubectl() -> None:
    """With resource and group, as kubectl prints them."""
    assert objects.format_raw([RAW], output=OutputFormat.NAME, as_list=True, plural="executions") == (
        "executions.kontinue.cloud/x"
    )
