"""What Prometheus is told: the names and types that are promised, and that they move as the world does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.telemetry.metrics import BUCKETS_S, OTHER, ExecutionMetrics
from prometheus_text import Sample, parse, types_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def metrics_of(*functions: str) -> ExecutionMetrics:
    return ExecutionMetrics(functions, namespace="ns", worker="w-0")


def end(metrics: ExecutionMetrics, function: str, phase: Phase, took_s: float) -> None:
    metrics.ended(function, phase, BEGIN, BEGIN + timedelta(seconds=took_s))


async def test_every_promised_name_exists_with_its_type() -> None:
    """Dashboards of the documented names work, also before anything has happened."""
    metrics = metrics_of("f")
    metrics.states = {}
    assert types_of(metrics.render({})) == {
        "kontinue_executions_running": "gauge",
        "kontinue_executions_completed": "counter",
        "kontinue_execution_latency": "histogram",
        "kontinue_execution_states": "gauge",
    }


@pytest.mark.parametrize(
    ("phase", "result"),
    [
        (Phase.COMPLETED, "success"),
        (Phase.SKIPPED, "success"),
        (Phase.FAILED, "error"),
        (Phase.CANCELED, "error"),
    ],
)
async def test_each_end_counts_once_by_its_result(phase: Phase, result: str) -> None:
    """What gives its parent a value is a success, whoever gave it."""
    metrics = metrics_of("f", "g")
    end(metrics, "f", phase, 1.0)
    found = parse(metrics.render({}))
    for function in ("f", "g", OTHER):
        for one in ("success", "error"):
            labels = {"function": function, "namespace": "ns", "worker": "w-0", "result": one}
            expected = 1.0 if (function, one) == ("f", result) else 0.0
            assert found[Sample.of("kontinue_executions_completed", labels)] == expected


async def test_latency_is_a_histogram_of_cumulated_buckets() -> None:
    """Bounds belong to the bucket below, as Prometheus wants them, and +Inf has all."""
    metrics = metrics_of("f")
    for took_s in (0.005, 0.3, 0.3, 1e6):
        end(metrics, "f", Phase.COMPLETED, took_s)
    found = parse(metrics.render({}))
    labels = {"function": "f", "namespace": "ns", "worker": "w-0"}

    def below(bound: str) -> float:
        return found[Sample.of("kontinue_execution_latency_bucket", {**labels, "le": bound})]

    assert [below("0.005"), below("0.25"), below("0.5"), below("86400"), below("+Inf")] == [1, 1, 3, 3, 4]
    assert found[Sample.of("kontinue_execution_latency_count", labels)] == 4
    assert found[Sample.of("kontinue_execution_latency_sum", labels)] == pytest.approx(1_000_000.605)
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))


async def test_what_was_never_started_has_no_latency() -> None:
    """It is counted, though: somebody has canceled it while it was Pending."""
    metrics = metrics_of("f")
    metrics.ended("f", Phase.CANCELED, None, BEGIN)
    found = parse(metrics.render({}))
    labels = {"function": "f", "namespace": "ns", "worker": "w-0"}
    assert found[Sample.of("kontinue_execution_latency_count", labels)] == 0
    assert found[Sample.of("kontinue_executions_completed", {**labels, "result": "error"})] == 1


async def test_the_gauge_of_running_ones_shows_what_runs_now() -> None:
    """A function that runs no more goes back to 0, and does not vanish."""
    metrics = metrics_of("f", "g")
    labels = {"function": "f", "namespace": "ns", "worker": "w-0"}
    assert parse(metrics.render({"f": 3}))[Sample.of("kontinue_executions_running", labels)] == 3
    assert parse(metrics.render({}))[Sample.of("kontinue_executions_running", labels)] == 0


async def test_only_who_leads_shows_states_and_each_phase_has_one() -> None:
    """The sum over the replicas of a group is the number of its Executions."""
    metrics = metrics_of("f")
    assert "kontinue_execution_states" not in metrics.render({})
    metrics.states = {("f", "Suspended"): 7}
    found = parse(metrics.render({}))
    for phase in Phase:
        labels = {"function": "f", "namespace": "ns", "phase": phase.value}
        assert found[Sample.of("kontinue_execution_states", labels)] == (7 if phase is Phase.SUSPENDED else 0)


async def test_names_that_clients_make_up_are_one_label_value() -> None:
    """Else a client could fill Prometheus' memory with Executions of functions that nobody has."""
    metrics = metrics_of("f")
    size = len(metrics.render({}))
    for number in range(100):
        end(metrics, f"made-up-{number}", Phase.CANCELED, 0.001)
        assert metrics.label_of(f"made-up-{number}") == OTHER
    text = metrics.render({})
    assert "made-up" not in text
    assert len(text) < size + 200
    labels = {"function": OTHER, "namespace": "ns", "worker": "w-0", "result": "error"}
    assert parse(text)[Sample.of("kontinue_executions_completed", labels)] == 100


async def test_a_label_value_with_quotes_stays_one() -> None:
    r"""``\``, ``"`` and a line feed are escaped, as the format says."""
    metrics = metrics_of('a"b\\c\nd')
    labels = {"function": 'a"b\\c\nd', "namespace": "ns", "worker": "w-0"}
    assert Sample.of("kontinue_executions_running", labels) in parse(metrics.render({}))


async def test_who_asks_is_noticed() -> None:
    """States are listed only for somebody."""
    metrics = metrics_of("f")
    assert not metrics.was_asked.is_set()
    metrics.render({})
    assert metrics.was_asked.is_set()
