"""What is done about a ScheduledExecution, from its object, its Executions and the time."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import ScheduledExecution, ScheduledExecutionSpec, ScheduledExecutionStatus
from kontinue_engine.schedules.deciding import Observed, Plan, Run, decide, name_of

CREATED = datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    """Return a time of 2 March 2026, or a whole one."""
    return datetime.fromisoformat(text if "T" in text else f"2026-03-02T{text}").replace(tzinfo=UTC)


def schedule(
    expression: str = "*/10 * * * *", *, next_: str | None = "10:10", generation: int = 1, **spec: object
) -> ScheduledExecution:
    """Return a schedule that was looked at before; ``next_=None``: while it was suspended."""
    return ScheduledExecution(
        metadata=ObjectMeta(name="report", uid="s", generation=generation, creation_timestamp=CREATED),
        spec=msgspec.convert(
            {"schedule": expression, "function": "report", **spec}, type=ScheduledExecutionSpec, strict=False
        ),
        status=ScheduledExecutionStatus(next_schedule_time=at(next_) if next_ else None, observed_generation=1),
    )


def fresh(expression: str = "*/10 * * * *", **spec: object) -> ScheduledExecution:
    """Return a schedule that nobody has looked at."""
    return msgspec.structs.replace(schedule(expression, **spec), status=ScheduledExecutionStatus())


def run(name: str, *, created: str = "10:00", ended: bool = False, stopped: bool = False, **more: object) -> Run:
    """Return one of its Executions."""
    has_ended = ended or stopped
    return Run(
        name=name,
        uid=name,
        version="1",
        created_s=at(created).timestamp(),
        has_ended=has_ended,
        has_stopped=stopped,
        **more,
    )


def applied(observed: Observed, plan: Plan) -> Observed:
    """Return what is observed once the plan was carried out."""
    runs = [each for each in observed.runs if each not in plan.delete]
    runs = [msgspec.structs.replace(each, has_ended=True) if each in plan.cancel else each for each in runs]
    if plan.start is not None:
        name = name_of(observed.schedule, plan.start)
        runs.append(Run(name=name, uid=name, version="1", created_s=plan.start.timestamp()))
    changed = observed.schedule
    if plan.status is not None:
        changed = msgspec.structs.replace(changed, status=plan.status)
    return Observed(schedule=changed, runs=runs, problem=observed.problem, misfit=observed.misfit)


def ready(plan: Plan) -> tuple[str, str]:
    """Return status and reason of the condition."""
    assert plan.status is not None
    (condition,) = plan.status.conditions
    return condition.status, condition.reason


def test_a_new_schedule_counts_from_its_creation():
    """A leader that was away makes up for what was due since."""
    plan = decide(Observed(schedule=fresh()), at("10:00:40"))
    assert plan.start is None
    assert plan.status is not None
    assert plan.status.next_schedule_time == plan.look_again == at("10:10")
    assert decide(Observed(schedule=fresh()), at("10:11")).start == at("10:10")


def test_what_is_due_is_started_once_and_the_next_one_is_told():
    """The same facts afterwards: nothing to do."""
    observed = Observed(schedule=schedule())
    plan = decide(observed, at("10:10:01"))
    assert plan.start == at("10:10")
    assert plan.status is not None
    assert plan.status.last_schedule_time == at("10:10")
    assert plan.status.next_schedule_time == plan.look_again == at("10:20")
    assert plan.status.active == [name_of(observed.schedule, at("10:10"))]
    assert ready(plan) == ("True", "Scheduled")
    again = decide(applied(observed, plan), at("10:10:02"))
    assert again == Plan(delete=[], look_again=at("10:20"))


def test_the_name_says_the_minute_as_that_of_a_job():
    """And is the same whoever leads."""
    assert name_of(schedule(), at("10:10")) == "report-29540770"


def test_of_several_missed_occurrences_the_last_one_is_made_up_for():
    """One Execution, and an Event that says so."""
    plan = decide(Observed(schedule=schedule()), at("11:47"))
    assert plan.start == at("11:40")
    assert [report.reason for report in plan.reports] == ["MissedSchedule"]
    assert "from 2026-03-02T10:10Z on was missed; 2026-03-02T11:40Z is made up for" in plan.reports[0].message


def test_what_is_later_than_its_deadline_is_not_started():
    """It is missed, and the next one is waited for."""
    late = schedule(startingDeadline="2m")
    plan = decide(Observed(schedule=late), at("10:12:01"))
    assert plan.start is None
    assert plan.status is not None
    assert plan.status.next_schedule_time == at("10:20")
    assert plan.reports[0].message == "2026-03-02T10:10Z could not be started within 2m"
    assert decide(Observed(schedule=late), at("10:12:00")).start == at("10:10")


@pytest.mark.parametrize("length", ["90000000h", "100000000000h"])
def test_a_deadline_that_no_clock_reaches_is_none(length):
    """The schema lets it in."""
    assert decide(Observed(schedule=schedule(startingDeadline=length)), at("10:12")).start == at("10:10")


def test_allow_starts_beside_what_runs():
    """It is the default."""
    assert decide(Observed(schedule=schedule(), runs=[run("a")]), at("10:10")).start == at("10:10")


def test_forbid_waits_for_what_runs_until_it_has_stopped():
    """Terminal is not enough: its code may still be cleaning up."""
    forbid = schedule(concurrencyPolicy="Forbid")
    plan = decide(Observed(schedule=forbid, runs=[run("a", ended=True)]), at("10:10"))
    assert plan.start is None
    assert plan.cancel == []
    assert plan.look_again == at("10:20")
    assert ready(plan) == ("True", "Waiting")
    waited = decide(Observed(schedule=forbid, runs=[run("a", stopped=True)]), at("10:14"))
    assert waited.start == at("10:10")


def test_forbid_with_a_deadline_looks_again_when_it_is_over():
    """So that the status does not speak of something that will not happen."""
    forbid = schedule(concurrencyPolicy="Forbid", startingDeadline="3m")
    assert decide(Observed(schedule=forbid, runs=[run("a")]), at("10:10")).look_again == at("10:13:01")


def test_replace_cancels_what_runs_and_starts_when_it_has_stopped():
    """What has ended already is not canceled again."""
    replace = schedule(concurrencyPolicy="Replace")
    observed = Observed(schedule=replace, runs=[run("a"), run("b", ended=True)])
    plan = decide(observed, at("10:10"))
    assert [each.name for each in plan.cancel] == ["a"]
    assert plan.cancel_message == "Replaced by the occurrence of 2026-03-02T10:10Z of its schedule"
    assert plan.start is None
    stopped = Observed(schedule=replace, runs=[run("a", stopped=True), run("b", stopped=True)])
    assert decide(stopped, at("10:10:04")).start == at("10:10")


def test_while_suspended_nothing_is_due_and_afterwards_nothing_is_made_up_for():
    """The status shows no next time."""
    observed = Observed(schedule=schedule(suspend=True))
    plan = decide(observed, at("10:30"))
    assert plan.start is None
    assert plan.look_again is None
    assert plan.status is not None
    assert plan.status.next_schedule_time is None
    assert ready(plan) == ("False", "Suspended")
    resumed = decide(Observed(schedule=schedule(next_=None)), at("10:33"))
    assert resumed.start is None
    assert resumed.status is not None
    assert resumed.status.next_schedule_time == at("10:40")


def test_an_edit_of_the_schedule_counts_from_now_on():
    """The occurrence that the old one named is none any more."""
    plan = decide(Observed(schedule=schedule("5 * * * *", generation=2)), at("10:10:30"))
    assert plan.start is None
    assert plan.status is not None
    assert plan.status.next_schedule_time == at("11:05")


def test_an_edit_of_anything_else_loses_no_occurrence():
    """It may come in the very minute."""
    assert decide(Observed(schedule=schedule(generation=2, historyLimit=1)), at("10:10:30")).start == at("10:10")


def test_what_is_no_schedule_says_so_in_its_status_and_works_once_it_is_mended():
    """The message is the parser's."""
    plan = decide(Observed(schedule=fresh("61 * * * *")), at("10:10"))
    assert ready(plan) == ("False", "InvalidSchedule")
    assert plan.look_again is None
    wrong_zone = decide(Observed(schedule=fresh(timeZone="Mars/Olympus")), at("10:10"))
    assert ready(wrong_zone) == ("False", "InvalidSchedule")


def test_a_function_that_nobody_has_is_waited_for():
    """What is due stays due."""
    unowned = Observed(schedule=schedule(), problem="no worker group owns report")
    plan = decide(unowned, at("10:12"))
    assert ready(plan) == ("False", "UnknownFunction")
    assert plan.status is not None
    assert plan.status.next_schedule_time == at("10:10")
    owned = msgspec.structs.replace(applied(unowned, plan), problem="")
    assert decide(owned, at("10:13")).start == at("10:10")


def test_arguments_that_do_not_fit_keep_everything_from_being_started():
    """Each Execution would fail for the same: what is due stays due until they fit."""
    refused = Observed(schedule=schedule(), misfit="report: $.day: expected integer, got 'today'")
    plan = decide(refused, at("10:12"))
    assert ready(plan) == ("False", "InvalidArguments")
    assert plan.status is not None
    assert plan.status.conditions[0].message == refused.misfit
    mended = msgspec.structs.replace(applied(refused, plan), misfit="")
    assert decide(mended, at("10:13")).start == at("10:10")


def test_history_keeps_the_youngest_that_have_stopped():
    """Those that retention has to archive first are left to it."""
    runs = [run(f"r{number}", created=f"09:0{number}", stopped=True) for number in range(5)]
    runs.append(run("live", created="08:00"))
    runs.append(run("archived", created="08:01", stopped=True, is_archived_first=True))
    plan = decide(Observed(schedule=schedule(historyLimit=3), runs=runs), at("10:01"))
    assert [each.name for each in plan.delete] == ["r0", "r1"]


def test_a_status_that_says_all_this_is_not_written_again():
    """Each write costs."""
    observed = Observed(schedule=schedule(), runs=[run("a")])
    first = decide(observed, at("10:01"))
    assert first.status is not None
    assert decide(applied(observed, first), at("10:02")).status is None


policies = st.sampled_from(["Allow", "Forbid", "Replace"])
minutes = st.lists(st.integers(min_value=0, max_value=35), min_size=1, max_size=30)


@given(policies, st.sampled_from(["", "5m"]), minutes, st.randoms(use_true_random=False))
def test_no_occurrence_is_started_twice_and_policies_hold_however_time_passes(policy, deadline, steps, random):
    """Leaders come and go between any two steps: only what is stored counts."""
    observed = Observed(schedule=fresh(concurrencyPolicy=policy, startingDeadline=deadline))
    now, started = CREATED, []
    for step in steps:
        now += timedelta(minutes=step)
        runs = [
            msgspec.structs.replace(each, has_ended=True, has_stopped=True)
            if random.random() < (0.6 if each.has_ended else 0.3)
            else each
            for each in observed.runs
        ]
        observed = msgspec.structs.replace(observed, runs=runs)
        for _ in range(3):
            plan = decide(observed, now)
            if plan.start is not None:
                assert plan.start <= now
                assert plan.start not in started
                assert not started or plan.start > started[-1]
                if policy != "Allow":
                    assert all(each.has_stopped for each in observed.runs)
                if deadline:
                    assert now - plan.start <= timedelta(minutes=5)
                started.append(plan.start)
            observed = applied(observed, plan)
        settled = decide(observed, now)
        assert (settled.start, settled.status, list(settled.cancel), list(settled.delete)) == (None, None, [], [])
        if policy == "Allow" and not deadline:
            assert observed.schedule.status.next_schedule_time > now
