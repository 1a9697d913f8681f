"""Internal. Cells of what runs Pods: Deployments and the like, Jobs. Pure; laid out by ``builtin.printing``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver.builtin.cells import NONE, Document, age, get, named, selector_text
from kontinue_engine.apiserver.durations import human_duration, parse_time

_JOB_STATES: Final = {
    "Complete": "Complete",
    "Failed": "Failed",
    "": "Terminating",
    "Suspended": "Suspended",
    "FailureTarget": "FailureTarget",
    "SuccessCriteriaMet": "SuccessCriteriaMet",
}
"""Status by condition, the first that is true; "" stands for a deletionTimestamp."""


def template(obj: Document) -> Document:
    """Return the spec of the Pods that ``obj`` makes."""
    found: Document = get("spec.template.spec", {})(obj)
    return found


def container_names(obj: Document) -> str:
    """Return the names of their containers."""
    return ",".join(container.get("name", "") for container in template(obj).get("containers") or ())


def images(obj: Document) -> str:
    """Return the images of their containers."""
    return ",".join(container.get("image", "") for container in template(obj).get("containers") or ())


def selector(obj: Document) -> str:
    """Return how ``obj`` finds its Pods."""
    return selector_text(get("spec.selector", None)(obj))


WIDE: Final = ("Containers", "Images", "Selector")
WIDE_CELLS: Final = (container_names, images, selector)


def ready(obj: Document) -> str:
    """Return how many of the wanted Pods are ready."""
    return f"{get('status.readyReplicas', 0)(obj)}/{get('spec.replicas', 0)(obj)}"


def _job_status(obj: Document) -> str:
    true = {
        condition.get("type") for condition in get("status.conditions", ())(obj) if condition.get("status") == "True"
    }
    if "deletionTimestamp" in obj["metadata"]:
        true.add("")
    return next((shown for condition, shown in _JOB_STATES.items() if condition in true), "Running")


def _completions(obj: Document) -> str:
    succeeded = get("status.succeeded", 0)(obj)
    wanted = get("spec.completions", None)(obj)
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallelism = get("spec.parallelism", 0)(obj)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def job_row(obj: Document, now: datetime) -> list[Any]:
    """Return the row of a Job."""
    started = parse_time(get("status.startTime", "")(obj))
    ended = parse_time(get("status.completionTime", "")(obj)) or now
    duration = human_duration(ended - started) if started else ""
    row = named(_job_status, _completions, lambda _: duration, wide=WIDE_CELLS)
    return row(obj, now)


def cron_job_row(obj: Document, now: datetime) -> list[Any]:
    """Return the row of a CronJob."""
    last = get("status.lastScheduleTime", None)(obj)
    suspended = get("spec.suspend", None)(obj)
    row = named(
        get("spec.schedule", ""),
        get("spec.timeZone", NONE),
        lambda _: {True: "True", False: "False"}.get(suspended, "<unset>"),
        lambda _: len(get("status.active", ())(obj)),
        lambda _: NONE if last is None else age(last, now),
    )
    job = {"spec": get("spec.jobTemplate.spec", {})(obj)}
    return [*row(obj, now), container_names(job), images(job), selector(job)]
