"""What the bare clients write: Executions that no worker takes."""

from __future__ import annotations

from typing import Any

from kontinue.kube import requests

EXECUTIONS = requests.EXECUTIONS
NAMESPACE = "default"
STATUS: dict[str, Any] = {
    "phase": "Completed",
    "result": 1,
    "attempts": [{"number": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}],
    "startedAt": "2026-01-01T00:00:00Z",
    "finishedAt": "2026-01-01T00:00:01Z",
    "conditions": [
        {
            "type": "Stopped",
            "status": "True",
            "reason": "Completed",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:01Z",
        }
    ],
}
LARGE_STATUS: dict[str, Any] = {
    **STATUS,
    "state": {"records": [{"id": f"step-{n}", "outcome": "x" * 124} for n in range(6)]},
}
"""Makes an Execution 1.6 KB as it is stored."""


def execution(name: str) -> dict[str, Any]:
    """Return a trivial Execution."""
    return {
        "apiVersion": EXECUTIONS.api_version,
        "kind": EXECUTIONS.kind,
        "metadata": {"name": name, "labels": {"kontinue.cloud/worker-group": "nobody"}},
        "spec": {"function": "trivial", "arguments": {"n": 1}},
    }
