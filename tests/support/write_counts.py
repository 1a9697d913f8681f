"""How many writes of Executions, or of another kind of ours, an API server has counted, from its own metrics."""

from __future__ import annotations

import re

SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
KUBE_WRITES = {"POST", "PUT", "PATCH", "APPLY"}
"""Not DELETE: the controllers of a real control plane delete too."""


def executions_written(metrics: str) -> int:
    """Return creations and updates of Executions and of their statuses that a server has counted."""
    return written(metrics, "executions")


def written(metrics: str, resource: str) -> int:
    """Return creations and updates of a resource of ours, statuses included, that a server has counted."""
    return sum(_written_by(line, resource) for line in metrics.splitlines() if resource in line)


def _written_by(line: str, resource: str) -> int:
    """Return the value of a sample that counts writes of the resource; 0 of any other line."""
    sample = SAMPLE.match(line)
    if sample is None:
        return 0
    metric, labels, value = sample[1], dict(LABEL.findall(sample[2])), int(float(sample[3]))
    if metric == "kontinue_apiserver_writes_total":
        return value if labels["resource"] in {resource, f"{resource}/status"} else 0
    if metric != "apiserver_request_total" or (labels["group"], labels["resource"]) != ("kontinue.cloud", resource):
        return 0
    counts = labels["verb"] in KUBE_WRITES and labels["code"] in {"200", "201"} and not labels["dry_run"]
    return value if counts else 0
