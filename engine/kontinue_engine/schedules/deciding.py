"""Internal. What to do about one ScheduledExecution now: ``decide(observed, now) -> Plan``. Pure and idempotent.

``status.nextScheduleTime`` is the occurrence that nobody has dealt with yet: a new leader goes on where the last one
ended, and an Execution named after its occurrence is not started twice. Policies and deadlines mean what they mean for
Kubernetes' CronJobs; docs/schedules.md says what is different.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from kontinue import naming
from kontinue.api import durations
from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import ConcurrencyPolicy, ScheduledExecution, ScheduledExecutionStatus
from kontinue_engine.schedules.cron import Cron, CronError

READY: Final = "Ready"
"""Condition: whether anything can be started."""

_RESOLUTION: Final = timedelta(seconds=1)
"""Occurrences are full minutes."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One Execution of the schedule.

    Attributes:
        name: of the object.
        uid: identity.
        version: its resourceVersion.
        created_s: when it was created, in seconds since 1970.
        has_ended: its phase is terminal.
        has_stopped: nothing of it runs any more.
        is_archived_first: it may not be deleted here: retention archives it, and deletes it then.
    """

    name: str
    uid: str
    version: str
    created_s: float
    has_ended: bool = False
    has_stopped: bool = False
    is_archived_first: bool = False


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a schedule.

    Attributes:
        schedule: the object.
        runs: its Executions.
        problem: why its function cannot be run by anybody; empty if it can.
        misfit: why its function does not take its arguments; empty if it does.
    """

    schedule: ScheduledExecution
    runs: Sequence[Run] = ()
    problem: str = ""
    misfit: str = ""


class Report(msgspec.Struct, frozen=True):
    """A Kubernetes Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, in this order.

    Attributes:
        delete: what the history has no place for.
        cancel: what must stop before the occurrence that is due can start.
        cancel_message: why.
        start: the occurrence to start now.
        status: to be written, if it changes.
        reports: once the status is written.
        look_again: when there may be something to do although nothing changes; None for never.
    """

    delete: Sequence[Run] = ()
    cancel: Sequence[Run] = ()
    cancel_message: str = ""
    start: datetime | None = None
    status: ScheduledExecutionStatus | None = None
    reports: Sequence[Report] = ()
    look_again: datetime | None = None


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do about a schedule at ``now``."""
    plan = _decide_start(observed, now)
    return msgspec.structs.replace(plan, delete=_beyond_history(observed))


def name_of(schedule: ScheduledExecution, occurrence: datetime) -> str:
    """Return the name of the Execution of an occurrence."""
    return naming.occurrence_name(schedule.metadata.name, int(occurrence.timestamp()) // 60)


def _decide_start(observed: Observed, now: datetime) -> Plan:
    spec = observed.schedule.spec
    try:
        cron = Cron(spec.schedule, spec.time_zone)
    except CronError as error:
        return _stand_still(observed, now, "InvalidSchedule", str(error))
    if spec.suspend:
        return _stand_still(observed, now, "Suspended", "it is suspended: nothing is started")
    due = _first_open(observed.schedule, cron, now)
    if due is None:
        return _stand_still(observed, now, "InvalidSchedule", "it names no time in the next 50 years")
    if observed.problem:
        return _stand_still(observed, now, "UnknownFunction", observed.problem, next_=due)
    if observed.misfit:
        return _stand_still(observed, now, "InvalidArguments", observed.misfit, next_=due)
    if due > now:
        return Plan(status=_status(observed, now, next_=due), look_again=due)
    return _take_up(observed, now, cron, due)


def _first_open(schedule: ScheduledExecution, cron: Cron, now: datetime) -> datetime | None:
    """Return the first occurrence that nobody has dealt with: what the status says, if the schedule still names it.

    After an edit of the schedule, or a suspension, what comes from now on counts.
    """
    open_, created = schedule.status.next_schedule_time, schedule.metadata.creation_timestamp
    if open_ is not None and cron.next_after(open_ - _RESOLUTION) == open_:
        return open_
    is_new = schedule.status.observed_generation == 0
    return cron.next_after(created if is_new and created is not None else now)


def _take_up(observed: Observed, now: datetime, cron: Cron, first: datetime) -> Plan:
    """An occurrence is due; of several the last one counts."""
    spec = observed.schedule.spec
    due = cron.last_until(now, since=first) or first
    next_ = cron.next_after(now)
    deadline = _deadline(due, spec.starting_deadline)
    if deadline is not None and now > deadline:
        late = f"{_text(due)} could not be started within {spec.starting_deadline}"
        report = Report("Warning", "MissedSchedule", late)
        return Plan(status=_status(observed, now, next_=next_), reports=(report,), look_again=next_)
    if spec.concurrency_policy is not ConcurrencyPolicy.ALLOW and _active(observed):
        cancel: list[Run] = []
        if spec.concurrency_policy is ConcurrencyPolicy.REPLACE:
            cancel = [run for run in _active(observed) if not run.has_ended]
        times = [time for time in (next_, deadline and deadline + _RESOLUTION) if time is not None]
        return Plan(
            cancel=cancel,
            cancel_message=f"Replaced by the occurrence of {_text(due)} of its schedule",
            status=_status(observed, now, next_=first, waits_for=_active(observed)[0].name),
            look_again=min(times, default=None),
        )
    reports: tuple[Report, ...] = ()
    if due != first:
        missed = f"what was due from {_text(first)} on was missed; {_text(due)} is made up for"
        reports = (Report("Warning", "MissedSchedule", missed),)
    status = _status(observed, now, next_=next_, started=due)
    return Plan(start=due, status=status, reports=reports, look_again=next_)


def _deadline(due: datetime, length: str) -> datetime | None:
    """Return until when an occurrence may be started; None if that is unset, or longer than anything lasts."""
    if not length:
        return None
    try:
        return due + durations.parse(length)
    except (ValueError, OverflowError):  # the schema lets in what is too long for Python
        return None


def _stand_still(
    observed: Observed, now: datetime, reason: str, message: str, *, next_: datetime | None = None
) -> Plan:
    return Plan(status=_status(observed, now, next_=next_, reason=reason, message=message))


def _status(
    observed: Observed,
    now: datetime,
    *,
    next_: datetime | None,
    started: datetime | None = None,
    waits_for: str = "",
    reason: str = "",
    message: str = "",
) -> ScheduledExecutionStatus | None:
    """Return what the status should say; None if it does."""
    schedule, status = observed.schedule, observed.schedule.status
    active = {run.name for run in _active(observed)}
    if started is not None:
        active.add(name_of(schedule, started))
    ready = Condition(
        type=READY,
        status="False" if reason else "True",
        reason=reason or ("Waiting" if waits_for else "Scheduled"),
        message=message or (f"an occurrence is due as soon as {waits_for} has stopped" if waits_for else ""),
        last_transition_time=now,
    )
    before = next((condition for condition in status.conditions if condition.type == READY), None)
    if before is not None and before.status == ready.status:
        ready = msgspec.structs.replace(ready, last_transition_time=before.last_transition_time)
    wanted = ScheduledExecutionStatus(
        last_schedule_time=started or status.last_schedule_time,
        next_schedule_time=next_,
        active=sorted(active),
        observed_generation=schedule.metadata.generation,
        conditions=[ready],
    )
    return None if wanted == status else wanted


def _active(observed: Observed) -> list[Run]:
    return [run for run in observed.runs if not run.has_stopped]


def _beyond_history(observed: Observed) -> list[Run]:
    stopped = sorted((run for run in observed.runs if run.has_stopped), key=lambda run: (run.created_s, run.name))
    surplus = max(0, len(stopped) - observed.schedule.spec.history_limit)
    return [run for run in stopped[:surplus] if not run.is_archived_first]


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ")
