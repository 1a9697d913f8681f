"""Internal. Reads and judges worker Pods, of the chart and of ``kontinue manifest``, for ``kontinue doctor``. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from kontinue.api.batch import Pod
from kontinue_engine.cli.deployment.workload import APP_NAME
from kontinue_engine.cli.doctor.findings import Finding, error, ok, warning
from kontinue_engine.cli.doctor.observed import Observed, PodFacts
from kontinue_engine.cli.text import format_age, plural

SELECTOR: Final = f"app.kubernetes.io/name={APP_NAME}"
STARTING_FOR: Final = timedelta(minutes=2)
"""How long an image may take to be pulled before somebody should look. Judgement."""
_ON_ITS_WAY: Final = {"", "ContainerCreating", "PodInitializing"}


def pod_facts(raw: msgspec.Raw) -> PodFacts:
    """Return what matters of a Pod."""
    pod = msgspec.json.decode(raw, type=Pod)
    containers = pod.status.container_statuses
    waiting = [one.state.waiting for one in containers if one.state.waiting]
    problems = [f"{one.reason}: {one.message}".rstrip(": ") for one in waiting if one.reason not in _ON_ITS_WAY]
    problems += [
        f"no node takes it: {one.message}"
        for one in pod.status.conditions
        if one.type == "PodScheduled" and one.status == "False"
    ]
    ends = [one.last_state.terminated for one in containers if one.last_state.terminated]
    return PodFacts(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        created=pod.metadata.creation_timestamp,
        phase=pod.status.phase,
        problem="; ".join(problems),
        restarts=sum(one.restart_count for one in containers),
        last_exit=ends[0].exit_code if ends else None,
    )


def check_pods(seen: Observed) -> Iterator[Finding]:
    """Those of workers that do not run, or do so again and again."""
    findings = [finding for pod in seen.pods or () for finding in _check_pod(pod, seen)]
    yield from findings
    if seen.pods and not findings:
        yield ok("pods", f"{plural(len(seen.pods), 'pod')} of workers, all running")


def _check_pod(pod: PodFacts, seen: Observed) -> Iterator[Finding]:
    about = seen.named(pod.namespace, pod.name, "pods")
    place = f"-n {pod.namespace} {pod.name}"
    if pod.problem:
        yield error("pods", pod.problem, f"kubectl describe pod {place}", about=about)
    elif pod.phase != "Running" and _age(pod.created, seen) > STARTING_FOR:
        what = f"is {pod.phase or 'without a status'} for {format_age(pod.created, seen.now)}"
        yield warning("pods", what, f"kubectl describe pod {place}", about=about)
    if pod.restarts:
        code = "" if pod.last_exit is None else f", the last time with exit code {pod.last_exit}"
        what = f"its container has ended {plural(pod.restarts, 'time')}{code}"
        yield warning("pods", what, f"kubectl logs --previous --tail 5 {place}", about=about)


def _age(created: datetime | None, seen: Observed) -> timedelta:
    return timedelta() if created is None else seen.now - created
