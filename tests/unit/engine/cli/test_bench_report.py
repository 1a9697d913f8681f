"""Figures of ``kontinue bench`` are computed from what was measured."""

from collections import Counter

from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli import bench_report

METRICS = """\
# HELP kontinue_apiserver_writes_total Writes.
kontinue_apiserver_writes_total{resource="executions",verb="create"} 10
kontinue_apiserver_writes_total{resource="executions/status",verb="update"} 12
kontinue_apiserver_requests_total{resource="executions",verb="create"} 99
"""


def test_counters_are_read_from_metrics() -> None:
    """Other metrics are left out; a server that does not count gives nothing."""
    assert bench_report.parse_write_counters(METRICS) == {"executions create": 10, "executions/status update": 12}
    assert bench_report.parse_write_counters("go_threads 7\n") == {}


def kube_sample(count: int, verb: str, **changes: str) -> str:
    about = {"code": "200", "dry_run": "", "group": "kontinue.cloud", "resource": "executions", "subresource": ""}
    pairs = ",".join(f'{name}="{value}"' for name, value in {**about, "verb": verb, **changes}.items())
    return f'apiserver_request_total{{component="apiserver",{pairs}}} {count}\n'


def test_a_real_server_counts_what_it_granted_of_our_kinds() -> None:
    """Refused, tried and foreign requests are no writes of Executions."""
    counted = [
        kube_sample(7, "POST", code="201"),
        kube_sample(5, "PUT", subresource="status"),
        kube_sample(1, "APPLY", subresource="status"),
        kube_sample(2, "PATCH", subresource="status"),
    ]
    left_out = [
        kube_sample(9, "PUT", subresource="status", code="409"),
        kube_sample(9, "POST", code="201", dry_run="All"),
        kube_sample(9, "LIST"),
        kube_sample(9, "PUT", group="coordination.k8s.io", resource="leases"),
    ]
    assert bench_report.parse_write_counters("".join(counted + left_out)) == {
        "executions create": 7,
        "executions/status update": 5,
        "executions/status patch": 3,
    }


def test_growth_leaves_out_what_stood_still() -> None:
    """Only writes of the run count."""
    assert bench_report.counter_growth({"a": 1, "b": 2}, {"a": 1, "b": 5, "c": 4}) == {"b": 3, "c": 4}


def _report(**changes: object) -> bench_report.BenchReport:
    values: dict[str, object] = {
        "function": "noop",
        "concurrency": 4,
        "elapsed_s": 2.0,
        "latencies_s": [number / 1000 for number in range(1, 101)],
        "phases": Counter({Phase.COMPLETED: 100}),
        "writes": {"executions create": 100, "executions/status update": 100},
    }
    return bench_report.summarize(**(values | changes))  # type: ignore[arg-type]


def test_percentiles_are_measured_values() -> None:
    """Nearest rank: no value that nobody measured."""
    report = _report()
    assert (report.latency_p50_ms, report.latency_p90_ms, report.latency_p99_ms) == (50, 90, 99)
    assert report.per_s == 50
    assert report.writes_per_execution == 2


def test_a_report_without_counters_says_so() -> None:
    """A server without our metric is no error."""
    report = _report(writes=None)
    assert report.writes_per_execution is None
    assert "not counted by this server" in bench_report.format_report(report)


def test_a_failure_is_not_hidden() -> None:
    """Failed Executions are named and the whole is not a success."""
    report = _report(phases=Counter({Phase.COMPLETED: 99, Phase.FAILED: 1}))
    assert not report.all_completed
    assert "99 Completed, 1 Failed" in bench_report.format_report(report)


def test_an_empty_run_divides_by_nothing() -> None:
    """A duration too short for one Execution gives zeros."""
    report = _report(latencies_s=[], phases=Counter(), elapsed_s=0.0)
    assert (report.per_s, report.latency_p99_ms, report.writes_per_execution) == (0, 0, None)
