"""Internal. What ``kontinue bench`` measured, summed up and printed. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli.text import format_table

_LOCAL_METRIC: Final = "kontinue_apiserver_writes_total"
_KUBE_METRIC: Final = "apiserver_request_total"
_KUBE_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "APPLY": "patch", "DELETE": "delete"}
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class BenchReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of the benchmark.

    Attributes:
        elapsed_s: from the first creation to the last end.
        per_s: Executions that ended, per second.
        latency_p50_ms: from just before the creation until the end was seen, median; p90 and p99 alike.
        writes_per_execution: API writes that the server counted; None where it does not count.
        writes: those writes by ``resource verb``.
    """

    function: str
    executions: int
    concurrency: int
    elapsed_s: float
    per_s: float
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    phases: dict[str, int]
    writes_per_execution: float | None = None
    writes: dict[str, int] = {}

    @property
    def all_completed(self) -> bool:
        """Whether every Execution completed."""
        return set(self.phases) <= {Phase.COMPLETED.value}


def summarize(
    *,
    function: str,
    concurrency: int,
    elapsed_s: float,
    latencies_s: Sequence[float],
    phases: Counter[Phase],
    writes: Mapping[str, int] | None,
) -> BenchReport:
    """Return the report of one run."""
    count = len(latencies_s)
    return BenchReport(
        function=function,
        executions=count,
        concurrency=concurrency,
        elapsed_s=round(elapsed_s, 3),
        per_s=round(count / elapsed_s, 1) if elapsed_s else 0.0,
        latency_p50_ms=_percentile_ms(latencies_s, 50),
        latency_p90_ms=_percentile_ms(latencies_s, 90),
        latency_p99_ms=_percentile_ms(latencies_s, 99),
        phases={phase.value: number for phase, number in phases.items()},
        writes_per_execution=round(sum(writes.values()) / count, 2) if writes is not None and count else None,
        writes=dict(writes or {}),
    )


def format_report(report: BenchReport) -> str:
    """Return the report as a table."""
    rows = [
        ["executions", f"{report.executions} ({', '.join(f'{n} {phase}' for phase, n in report.phases.items())})"],
        ["concurrency", str(report.concurrency)],
        ["elapsed", f"{report.elapsed_s:.2f} s"],
        ["throughput", f"{report.per_s:.1f} per s"],
        ["latency p50", f"{report.latency_p50_ms:.1f} ms"],
        ["latency p90", f"{report.latency_p90_ms:.1f} ms"],
        ["latency p99", f"{report.latency_p99_ms:.1f} ms"],
        ["API writes", _writes(report)],
    ]
    return format_table([report.function, ""], rows)


def parse_write_counters(text: str) -> dict[str, int]:
    """Return ``resource verb`` to count, from the server's metrics in Prometheus' text format.

    The local server counts committed writes of every kind; of a kube-apiserver, what it has granted of our own API
    group is taken, whoever asked. Lines of other metrics are left out, so the answer of a server that does not count,
    or does not tell, is empty.
    """
    counters: Counter[str] = Counter()
    for line in text.splitlines():
        metric, _, rest = line.partition("{")
        if metric not in {_LOCAL_METRIC, _KUBE_METRIC}:
            continue
        pairs, _, value = rest.rpartition("} ")
        key = _write_of(metric, dict(_LABEL.findall(pairs)))
        if key:
            counters[key] += int(float(value))
    return dict(counters)


def _write_of(metric: str, about: Mapping[str, str]) -> str:
    if metric == _LOCAL_METRIC:
        return f"{about.get('resource', '')} {about.get('verb', '')}"
    verb = _KUBE_VERBS.get(about.get("verb", ""))
    was_granted = about.get("code", "").startswith("2") and not about.get("dry_run")
    if verb is None or not was_granted or about.get("group") != labels.GROUP:
        return ""
    return "/".join(part for part in (about.get("resource"), about.get("subresource")) if part) + f" {verb}"


def counter_growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return by how much each counter grew; those that did not are left out."""
    growth = {key: count - before.get(key, 0) for key, count in after.items()}
    return {key: count for key, count in growth.items() if count > 0}


def _percentile_ms(latencies_s: Sequence[float], percent: int) -> float:
    # Nearest rank: a value that was really measured, also for few of them.
    if not latencies_s:
        return 0.0
    ordered = sorted(latencies_s)
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] * 1000, 2)


def _writes(report: BenchReport) -> str:
    if report.writes_per_execution is None:
        return "not counted by this server"
    parts = ", ".join(f"{key} {count}" for key, count in sorted(report.writes.items()))
    return f"{report.writes_per_execution:.2f} per Execution ({parts})"
