"""Internal. What a replica counts about Executions, and Prometheus' text format (version 0.0.4).

Counted where an Execution ends, once each; everything else is looked up when somebody asks. No prometheus_client: it
would cost a supervisor 33 ms and 2.4 MiB at its start, three times as much per Execution, and name the counter
``..._completed_total``. Labels are bounded: functions that the app does not have are counted together.
``controllers.execution`` counts, ``coordinator.state_counts`` lists, ``worker.metrics_page`` answers. Runners load
nothing of this.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import accumulate
from typing import Final

from kontinue.api.v1alpha1 import Phase

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "(other)"
"""Label value of all functions that the app does not have: their names are up to clients."""
BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
"""Upper bounds of latency: from what costs nothing but its overhead to what sleeps for a night. Judgement."""

_SUCCESSES: Final = frozenset({Phase.COMPLETED, Phase.SKIPPED})
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class _Ended:
    """Executions of one function that have ended here."""

    __slots__ = ("buckets", "errors", "successes", "total_s")

    def __init__(self) -> None:
        self.successes = 0
        self.errors = 0
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0


class ExecutionMetrics:
    """Counts of one replica.

    Attributes:
        states: (function, phase) -> how many Executions of the group there are; None unless this replica leads.
        was_asked: set whenever somebody has asked for the metrics.

    Args:
        functions: of the app.
        namespace: of the group.
        worker: id of the replica.
    """

    def __init__(self, functions: Collection[str], *, namespace: str, worker: str) -> None:
        self.states: Mapping[tuple[str, str], int] | None = None
        self.was_asked = asyncio.Event()
        self._functions = (*sorted(functions), OTHER)
        self._namespace = namespace
        self._worker = worker
        self._others = _Ended()
        self._ended = {function: _Ended() for function in functions}

    def label_of(self, function: str) -> str:
        """Return the label value of a function."""
        return function if function in self._ended else OTHER

    def ended(self, function: str, phase: Phase, started: datetime | None, finished: datetime | None) -> None:
        """Count one Execution that has ended here; one that was never started has no latency."""
        count = self._ended.get(function) or self._others
        if phase in _SUCCESSES:
            count.successes += 1
        else:
            count.errors += 1
        if started is not None and finished is not None:
            took_s = (finished - started).total_seconds()
            count.buckets[bisect_left(BUCKETS_S, took_s)] += 1
            count.total_s += took_s

    def render(self, running: Mapping[str, int]) -> str:
        """Return all metrics as text; ``running`` are label value of a function -> how many run user code now."""
        self.was_asked.set()
        return "".join(f"{line}\n" for line in self._lines(running))

    def _lines(self, running: Mapping[str, int]) -> Iterator[str]:
        name = "kontinue_executions_running"
        yield from _head(name, "gauge", "Executions whose code runs now on this worker, those that wait aside.")
        for function in self._functions:
            yield f"{name}{self._labels(function)} {running.get(function, 0)}"
        name = "kontinue_executions_completed"
        yield from _head(name, "counter", "Executions that ended on this worker; success: Completed or Skipped.")
        for function, count in self._counts():
            for result, number in (("success", count.successes), ("error", count.errors)):
                yield f"{name}{self._labels(function, result=result)} {number}"
        name = "kontinue_execution_latency"
        yield from _head(name, "histogram", "Seconds from the first start of an Execution to its end, waits included.")
        for function, count in self._counts():
            yield from self._histogram(name, function, count)
        if self.states is None:
            return
        name = "kontinue_execution_states"
        yield from _head(name, "gauge", "Executions of the worker group by phase; only the leader counts them.")
        for function in self._functions:
            for phase in Phase:
                number = self.states.get((function, phase.value), 0)
                labels = {"function": function, "namespace": self._namespace, "phase": phase.value}
                yield f"{name}{_braces(labels)} {number}"

    def _counts(self) -> Iterable[tuple[str, _Ended]]:
        return ((function, self._ended.get(function) or self._others) for function in self._functions)

    def _histogram(self, name: str, function: str, count: _Ended) -> Iterator[str]:
        *below, total = accumulate(count.buckets)
        for bound, number in zip(BUCKETS_S, below, strict=True):
            yield f"{name}_bucket{self._labels(function, le=str(bound))} {number}"
        yield f"{name}_bucket{self._labels(function, le='+Inf')} {total}"
        yield f"{name}_sum{self._labels(function)} {round(count.total_s, 3)}"
        yield f"{name}_count{self._labels(function)} {total}"

    def _labels(self, function: str, **more: str) -> str:
        return _braces({"function": function, "namespace": self._namespace, "worker": self._worker, **more})


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"
