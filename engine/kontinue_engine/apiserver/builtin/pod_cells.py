"""Internal. The row of a Pod: one word for its state, from its phase, its containers and its conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kontinue_engine.apiserver.builtin.cells import NONE, Document, age


def pod_row(obj: Document, now: datetime) -> list[Any]:
    """Return the cells of a Pod."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = status.get("containerStatuses") or ()
    containers = spec.get("containers") or ()
    restarts = sum(container.get("restartCount", 0) for container in found)
    ready = sum(1 for container in found if container.get("ready") and "running" in (container.get("state") or {}))
    ips = status.get("podIPs") or [{}]
    return [
        obj["metadata"]["name"],
        f"{ready}/{len(containers)}",
        _pod_reason(obj, status, is_running=ready > 0),
        _restarts(restarts, found, now),
        age(obj["metadata"].get("creationTimestamp"), now),
        ips[0].get("ip") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(spec, status),
    ]


def _restarts(count: int, containers: Iterable[Document], now: datetime) -> str:
    ends = [((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for container in containers]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _readiness_gates(spec: Document, status: Document) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    true = {condition["type"] for condition in status.get("conditions") or () if condition.get("status") == "True"}
    return f"{sum(1 for gate in gates if gate.get('conditionType') in true)}/{len(gates)}"


def _pod_reason(obj: Document, status: Document, *, is_running: bool) -> str:
    phase: str = status.get("phase", "")
    reason = status.get("reason") or phase
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    if conditions.get("PodScheduled", {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    initializing = _init_reason(obj, status)
    if initializing and conditions.get("Initialized", {}).get("status") != "True":
        reason = initializing
    else:
        reason = _container_reason(reason, status, conditions, is_running=is_running)
    if "deletionTimestamp" in obj["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in {"Failed", "Succeeded"}:
            return "Terminating"
    return reason


def _init_reason(obj: Document, status: Document) -> str:
    total = len((obj.get("spec") or {}).get("initContainers") or ())
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if ended is not None:
            return f"Init:{_end(ended)}"
        if waiting.get("reason") not in {None, "", "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _end(ended: Document) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _container_reason(reason: str, status: Document, conditions: Document, *, is_running: bool) -> str:
    failure = ""
    for container in reversed(status.get("containerStatuses") or ()):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _end(ended)
            failure = reason if ended.get("exitCode") else failure
    if reason != "Completed":
        return reason
    if is_running and conditions.get("Ready", {}).get("status") == "True":
        return "Running"
    return failure or ("NotReady" if is_running else reason)
