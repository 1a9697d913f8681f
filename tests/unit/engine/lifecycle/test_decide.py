"""What the engine does about an Execution, case by case, and what holds in every case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import (
    MAX_STATE_BYTES,
    ExecutionOwner,
    ExecutionSpec,
    ExecutionStatus,
    Phase,
)
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.ending import PARENT_ENDED_MESSAGE
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import (
    EVICTED,
    SHARDED_EPOCH,
    Activation,
    HistoryIncomplete,
    Lost,
    News,
    Observed,
    Worker,
)
from kontinue_engine.lifecycle.phases import TRANSITIONS, PhaseEvent, next_phase
from kontinue_engine.wire import frames

NOW_MS = 1_700_000_000_000
WORKER = Worker(shard="w-0", incarnation="me", build="b1")
MINE = ExecutionOwner(shard="w-0", incarnation="me", epoch=3)
THEIRS = ExecutionOwner(shard="w-0", incarnation="before", epoch=3)
RUNNING = Activation(number=1, running_since_ms=NOW_MS - 10)
BOOM = frames.ErrorInfo(type="builtins.ValueError", message="boom", traceback="tb", types=["builtins.ValueError"])


def observe(**facts: Any) -> Observed:
    defaults: dict[str, Any] = {
        "spec": ExecutionSpec(function="f"),
        "status": ExecutionStatus(),
        "memo": MemoBytes(),
        "created_at_ms": NOW_MS - 1000,
    }
    return Observed(**{**defaults, **facts})


def status(phase: Phase, **fields: Any) -> ExecutionStatus:
    return ExecutionStatus(phase=phase, started_at=datetime(2026, 1, 1, tzinfo=UTC), **{"owner": MINE, **fields})


def record(step: str, size: int = 10) -> frames.EncodedRecord:
    return frames.EncodedRecord(step, b'{"id":"' + step.encode() + b'","v":"' + b"x" * size + b'"}')


def kinds(plan: plans.Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def written(plan: plans.Plan) -> ExecutionStatus:
    assert plan.status is not None
    return plan.status


def test_a_fresh_execution_is_dispatched_without_a_write() -> None:
    """A trivial Execution costs two writes: nothing is written before its end."""
    plan = decide(observe(), WORKER, NOW_MS)
    assert plan.status is None
    assert plan.actions == (plans.Dispatch(attempt=1, resumption=0, fencing_token=1),)


def test_what_was_found_by_listing_is_claimed_and_written_executing_before_it_runs() -> None:
    """A poison Execution that kills its pod within milliseconds leaves a trace."""
    plan = decide(observe(inherited=True), WORKER, NOW_MS)
    assert written(plan).phase is Phase.EXECUTING
    assert written(plan).resumptions == 0
    assert kinds(plan) == ["Dispatch"]


def test_what_another_replica_may_have_started_without_a_write_gets_a_higher_fencing_token() -> None:
    """The other one may only be frozen, or from before the group was sharded: receivers must be able to refuse it."""
    sharded = msgspec.structs.replace(WORKER, first_epoch=SHARDED_EPOCH)
    alone, fresh = (decide(observe(), worker, NOW_MS).actions[0] for worker in (WORKER, sharded))
    plan = decide(observe(inherited=True), WORKER, NOW_MS)
    claimed = plan.actions[0]
    assert isinstance(alone, plans.Dispatch)
    assert isinstance(fresh, plans.Dispatch)
    assert isinstance(claimed, plans.Dispatch)
    assert claimed.fencing_token > fresh.fencing_token > alone.fencing_token
    assert written(plan).owner == ExecutionOwner(shard="w-0", incarnation="me", epoch=claimed.fencing_token)


def test_a_claim_after_a_crash_raises_epoch_resumption_and_crashes() -> None:
    """Nothing that a dead replica ran goes on without a new epoch, and its crash is charged."""
    died = observe(inherited=True, lost_by=THEIRS.incarnation, status=status(Phase.EXECUTING, owner=THEIRS))
    plan = decide(died, WORKER, NOW_MS)
    assert written(plan).owner == ExecutionOwner(shard="w-0", incarnation="me", epoch=4)
    assert (written(plan).resumptions, written(plan).crashes) == (1, 1)
    assert plan.actions[0] == plans.Dispatch(attempt=1, resumption=1, fencing_token=4)


@pytest.mark.parametrize("phase", [Phase.EXECUTING, Phase.SUSPENDED])
def test_a_claim_after_a_clean_shutdown_charges_nothing(phase: Phase) -> None:
    """A rolling restart is no crash."""
    observed = observe(inherited=True, lost_by="", status=status(phase, owner=THEIRS))
    assert written(decide(observed, WORKER, NOW_MS)).crashes == 0


def test_a_claim_is_not_charged_for_the_death_of_a_replica_before_the_last_owner() -> None:
    """Who died with it is told by a label that a later move in good order does not always reach."""
    observed = observe(inherited=True, lost_by="earlier", status=status(Phase.EXECUTING, owner=THEIRS))
    assert written(decide(observed, WORKER, NOW_MS)).crashes == 0


@pytest.mark.parametrize(("lost_by", "reason"), [("gone", "ReplicaDied"), ("", "ReplicaEnded")])
def test_a_claim_of_what_another_replica_had_says_so(lost_by: str, reason: str) -> None:
    """As a condition, which costs no further write. The last time counts; a restart of the same shard is none."""
    away = ExecutionOwner(shard="w-1", incarnation="gone", epoch=3)
    old = Condition(type="Reassigned", status="True", reason="ReplicaEnded", message="from w-5 to w-1")
    moved = status(Phase.SUSPENDED, owner=away, conditions=[old])
    (told,) = written(decide(observe(inherited=True, lost_by=lost_by, status=moved), WORKER, NOW_MS)).conditions
    assert (told.type, told.status, told.reason, told.message) == ("Reassigned", "True", reason, "from w-1 to w-0")
    restarted = observe(inherited=True, lost_by=lost_by, status=status(Phase.SUSPENDED, owner=THEIRS))
    assert written(decide(restarted, WORKER, NOW_MS)).conditions == []


def test_a_claim_of_what_a_living_replica_had_says_that_somebody_moved_it() -> None:
    """A label that was changed by hand is no death of a replica: nobody is to look for one."""
    moved = status(Phase.SUSPENDED, owner=ExecutionOwner(shard="w-1", incarnation="lives", epoch=3))
    plan = decide(observe(inherited=True, owner_lives=True, status=moved), WORKER, NOW_MS)
    (told,) = written(plan).conditions
    assert (told.reason, told.message) == ("MovedByHand", "from w-1 to w-0")
    (report,) = (action for action in plan.actions if isinstance(action, plans.Report))
    assert report.message == "Resumed by w-0: somebody has moved it from w-1"


@pytest.mark.parametrize(("deaths", "crashes"), [(0, 0), (1, 1), (9, 1)])
def test_only_the_first_death_is_charged_to_what_was_never_written(deaths: int, crashes: int) -> None:
    """It may have killed that replica within milliseconds; those after it died while it waited to be claimed."""
    plan = decide(observe(inherited=True, deaths=deaths), WORKER, NOW_MS)
    assert (written(plan).phase, written(plan).crashes) == (Phase.EXECUTING, crashes)


def test_a_suspended_execution_is_not_charged_for_the_crash_of_its_worker() -> None:
    """It ran nothing when the worker died."""
    observed = observe(inherited=True, lost_by=THEIRS.incarnation, status=status(Phase.SUSPENDED, owner=THEIRS))
    assert written(decide(observed, WORKER, NOW_MS)).crashes == 0


def test_an_execution_that_keeps_killing_its_worker_fails() -> None:
    """The crash budget bounds how often a poison Execution may take the worker down."""
    died = status(Phase.EXECUTING, owner=THEIRS, crashes=3)
    observed = observe(inherited=True, lost_by=THEIRS.incarnation, status=died)
    plan = decide(observed, WORKER, NOW_MS)
    assert (written(plan).phase, written(plan).reason) == (Phase.FAILED, "RunnerCrashed")
    assert "Finish" in kinds(plan)


def test_a_function_that_nobody_has_leaves_it_pending_and_says_so_once() -> None:
    """Kubectl shows what it waits for; nothing is rewritten while that does not change."""
    plan = decide(observe(function_known=False), WORKER, NOW_MS)
    assert written(plan).phase is Phase.PENDING
    assert "no worker group owns it" in written(plan).waiting_for[0].message
    again = decide(observe(function_known=False, status=written(plan)), WORKER, NOW_MS)
    assert again == plans.NOTHING


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        ("shop", "owned by group shop; this Execution is labelled bill: relabel it"),
        ("bill", "group bill owns it, but the code of its worker does not have it"),
    ],
)
def test_a_function_that_is_elsewhere_is_not_said_to_be_nowhere(owner: str, says: str) -> None:
    """Who labelled an Execution with the wrong group reads which one is right."""
    plan = decide(observe(function_known=False, function_owner=owner, group="bill"), WORKER, NOW_MS)
    assert written(plan).waiting_for[0].message == says


def test_executing_is_written_only_once_it_has_run_for_longer_than_the_budget_allows() -> None:
    """Within 50 ms of dispatch nothing is written; then phase Executing is."""
    early = decide(observe(activation=RUNNING), WORKER, NOW_MS)
    assert early.status is None
    assert early.requeue_after_ms == 40
    late = decide(observe(activation=RUNNING), WORKER, NOW_MS + 40)
    assert written(late).phase is Phase.EXECUTING
    settled = decide(observe(activation=RUNNING, status=written(late)), WORKER, NOW_MS + 1000)
    assert settled == plans.NOTHING


def test_a_first_step_carries_phase_executing_with_it() -> None:
    """Any status write says Executing, so a first step costs no extra write."""
    news = News(records=(record("0"),), flush=1)
    plan = decide(observe(activation=RUNNING, news=news), WORKER, NOW_MS)
    assert written(plan).phase is Phase.EXECUTING
    assert plan.actions == (plans.Acknowledge(1),)
    assert parse_memo(written(plan).state).records == (news.records[0].json,)


def test_records_reset_the_crash_budget() -> None:
    """Whoever makes progress may crash again."""
    news = News(records=(record("0"),), flush=1)
    observed = observe(activation=RUNNING, news=news, status=status(Phase.EXECUTING, crashes=2))
    assert written(decide(observed, WORKER, NOW_MS)).crashes == 0


def test_a_short_sleep_costs_one_write_that_records_its_wake_time() -> None:
    """The phase stays Executing within the parking time."""
    parked = msgspec.structs.replace(
        RUNNING, parked_since_ms=NOW_MS, waiting_for=(frames.WaitingItem("Timer", "nap", "3"),)
    )
    observed = observe(activation=parked, news=News(timers_started={"3": NOW_MS + 2000}))
    plan = decide(observed, WORKER, NOW_MS)
    assert written(plan).phase is Phase.EXECUTING
    assert parse_memo(written(plan).state).timers == {"3": NOW_MS + 2000}


def test_a_long_sleep_is_written_suspended_together_with_its_wake_time() -> None:
    """One write says both: since it waits for nothing but the timer, the parking time need not pass."""
    parked = msgspec.structs.replace(
        RUNNING, parked_since_ms=NOW_MS, waiting_for=(frames.WaitingItem("Timer", "nap", "3"),)
    )
    observed = observe(activation=parked, news=News(timers_started={"3": NOW_MS + 3_600_000}))
    plan = decide(observed, WORKER, NOW_MS)
    assert written(plan).phase is Phase.SUSPENDED
    assert written(plan).waiting_for[0].until == datetime.fromtimestamp((NOW_MS + 3_600_000) / 1000, tz=UTC)


def test_a_wait_for_children_is_written_suspended_after_the_parking_time() -> None:
    """It names at most ten of what it waits for, and counts the rest."""
    items = tuple(frames.WaitingItem("Execution", f"child-{n}", str(n)) for n in range(10))
    parked = msgspec.structs.replace(RUNNING, parked_since_ms=NOW_MS, waiting_for=items, more=2)
    observed = observe(activation=parked, status=status(Phase.EXECUTING))
    assert decide(observed, WORKER, NOW_MS).requeue_after_ms == 5000
    plan = decide(observed, WORKER, NOW_MS + 5000)
    assert written(plan).phase is Phase.SUSPENDED
    assert len(written(plan).waiting_for) == 10
    assert written(plan).waiting_for[-1].message == "and 2 more"


def test_a_woken_execution_is_executing_again() -> None:
    """Resumption follows the same budget as the start: after 50 ms the phase is written."""
    observed = observe(activation=RUNNING, status=status(Phase.SUSPENDED))
    assert decide(observed, WORKER, NOW_MS).requeue_after_ms == 40
    assert written(decide(observed, WORKER, NOW_MS + 40)).phase is Phase.EXECUTING


@pytest.mark.parametrize("phase", [None, Phase.SUSPENDED])
def test_a_look_is_worth_a_write_only_if_it_takes_long(phase: Phase | None) -> None:
    """Its own time counts, and not that of the looks and pauses before it."""
    looking = msgspec.structs.replace(
        RUNNING, running_since_ms=NOW_MS - 9000, looks_since_ms=NOW_MS - 1000, waited_since_ms=NOW_MS - 9000
    )
    observed = observe(activation=looking) if phase is None else observe(activation=looking, status=status(phase))
    plan = decide(observed, WORKER, NOW_MS)
    assert (plan.status, plan.requeue_after_ms) == (None, 4000)
    assert written(decide(observed, WORKER, NOW_MS + 4000)).phase is Phase.EXECUTING


def test_a_completed_execution_is_written_once_with_result_records_and_stopped() -> None:
    """The terminal write carries everything: result, records, attempt, condition Stopped."""
    outcome = frames.Completed(1, b'{"n":1}', [record("0")])
    plan = decide(observe(activation=RUNNING, news=News(outcome=outcome)), WORKER, NOW_MS)
    end = written(plan)
    assert end.phase is Phase.COMPLETED
    assert msgspec.json.decode(msgspec.json.encode(end))["result"] == {"n": 1}
    assert is_stopped(end.conditions)
    assert (end.attempts[-1].phase, end.attempt_count) == (Phase.COMPLETED, 1)
    assert kinds(plan) == ["CancelChildren", "ForgetActivation", "Finish"]
    assert len(parse_memo(end.state).records) == 1


def test_a_failed_execution_keeps_type_message_and_traceback_in_its_attempt() -> None:
    """What the user needs to debug is in the object."""
    outcome = frames.Failed(1, "UserError", BOOM)
    end = written(decide(observe(activation=RUNNING, news=News(outcome=outcome)), WORKER, NOW_MS))
    assert (end.phase, end.reason, end.message) == (Phase.FAILED, "UserError", "builtins.ValueError: boom")
    assert end.attempts[-1].error is not None
    assert end.attempts[-1].error.traceback == "tb"


def test_a_memo_too_long_for_a_status_is_closed_into_a_page() -> None:
    """The page is to be created before the status that names it, and no longer has its records."""
    memo = MemoBytes().extended(build="b1", records=[record("0")])
    news = News(records=(record("1", MAX_STATE_BYTES),), flush=2)
    plan = decide(observe(activation=RUNNING, memo=memo, news=news), WORKER, NOW_MS)
    (page,) = plan.memo.closing
    assert len(msgspec.json.decode(page.memo)["records"]) == 2
    pages = written(plan).memo_pages
    assert pages is not None
    assert (pages.count, pages.last, pages.records) == (1, page.digest, 2)
    assert parse_memo(written(plan).state).records == ()


def test_code_that_does_not_match_blocks_with_both_sides() -> None:
    """Blocked names step, recorded call and requested call."""
    outcome = frames.Mismatched(1, step="2", recorded="step charge(a1)", requested="step refund(b2)")
    end = written(decide(observe(activation=RUNNING, news=News(outcome=outcome)), WORKER, NOW_MS))
    assert (end.phase, end.reason) == (Phase.BLOCKED, "CodeChanged")
    for text in ("step 2", "step charge(a1)", "step refund(b2)"):
        assert text in end.message


@pytest.mark.parametrize(("recorded_by", "is_explained"), [("b1", True), ("b0", False)])
def test_other_arguments_in_one_build_are_explained(recorded_by: str, is_explained: bool) -> None:
    """No code has changed, so its body is not deterministic; with another build nobody knows."""
    outcome = frames.Mismatched(1, step="2", recorded="step a", requested="step a", only_arguments=True)
    memo = MemoBytes(build=recorded_by)
    end = written(decide(observe(activation=RUNNING, memo=memo, news=News(outcome=outcome)), WORKER, NOW_MS))
    assert end.phase is Phase.BLOCKED
    assert ("Use ctx.uuid(), ctx.random, ctx.now() or a step" in end.message) is is_explained


def test_a_blocked_execution_is_tried_again_once_per_build() -> None:
    """The same build would block again; another one may match."""
    memo = MemoBytes(build="b0", refused_by="b1")
    observed = observe(inherited=True, memo=memo, status=status(Phase.BLOCKED, owner=THEIRS))
    assert decide(observed, WORKER, NOW_MS) == plans.NOTHING
    for other in ("b0", "b2"):
        worker = msgspec.structs.replace(WORKER, build=other)
        assert written(decide(observed, worker, NOW_MS)).phase is Phase.EXECUTING


def test_what_is_blocked_still_says_which_build_has_recorded_it() -> None:
    """A build that does not match has recorded nothing: whoever replays it later is told of the one that has."""
    outcome = frames.Mismatched(1, step="1", recorded="step a", requested="step b")
    memo = MemoBytes(build="b0", records=(b"{}",))
    blocked = written(decide(observe(activation=RUNNING, memo=memo, news=News(outcome=outcome)), WORKER, NOW_MS))
    stored = parse_memo(blocked.state)
    assert (stored.build, stored.refused_by) == ("b0", "b1")
    goes_on = stored.extended(build="b2", started={"2": 5})
    assert (goes_on.build, goes_on.refused_by) == ("b2", "")


def test_a_history_that_is_not_whole_blocks_with_a_reason_of_its_own_until_it_is() -> None:
    """No build can mend that; and the build that runs may go on."""
    outcome = HistoryIncomplete("MemoPage x is missing")
    plan = decide(observe(activation=RUNNING, news=News(outcome=outcome)), WORKER, NOW_MS)
    blocked = written(plan)
    assert (blocked.phase, blocked.reason) == (Phase.BLOCKED, "HistoryIncomplete")
    assert blocked.message.startswith("MemoPage x is missing. It goes on when")
    assert [item.kind for item in blocked.waiting_for] == ["MemoPage"]
    observed = observe(memo=plan.memo, status=msgspec.structs.replace(blocked, owner=MINE))
    assert decide(observed, WORKER, NOW_MS) == plans.Plan(actions=(plans.AwaitHistory(),))
    found = msgspec.structs.replace(observed, has_history=True)
    assert kinds(decide(found, WORKER, NOW_MS)) == ["Dispatch"]
    changed = msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, reason="CodeChanged"))
    assert decide(changed, WORKER, NOW_MS) == plans.NOTHING, "it is whole, and its code does not fit"
    newer = msgspec.structs.replace(WORKER, build="b2")
    assert kinds(decide(observed, newer, NOW_MS)) == ["Dispatch"]


def test_the_death_of_its_runner_resumes_an_active_execution_and_charges_it() -> None:
    """Crash and resumption are durable before the next run."""
    lost = Lost(was_active=True, reason="RunnerCrashed", message="runner 7 was killed by SIGKILL")
    plan = decide(observe(activation=RUNNING, news=News(lost=lost)), WORKER, NOW_MS)
    assert (written(plan).crashes, written(plan).resumptions) == (1, 1)
    assert kinds(plan) == ["ForgetActivation", "Dispatch", "Report"]


def test_the_death_of_its_runner_costs_a_parked_execution_nothing() -> None:
    """Only what was active is charged; the others are dispatched again without a write."""
    parked = msgspec.structs.replace(RUNNING, parked_since_ms=NOW_MS)
    lost = Lost(was_active=False, reason="RunnerCrashed", message="x")
    plan = decide(observe(activation=parked, news=News(lost=lost)), WORKER, NOW_MS)
    assert plan.status is None
    assert plan.actions[1] == plans.Dispatch(attempt=1, resumption=1, fencing_token=1)


def test_records_that_came_before_the_runner_died_are_kept() -> None:
    """They are valid outcomes: what they record need not run again, and they count as progress."""
    lost = Lost(was_active=True, reason="RunnerCrashed", message="x")
    news = News(records=(record("0"),), flush=1, lost=lost)
    observed = observe(activation=RUNNING, news=news, status=status(Phase.EXECUTING, crashes=3))
    plan = decide(observed, WORKER, NOW_MS)
    assert len(plan.memo.records) == 1
    assert written(plan).crashes == 1


def test_more_crashes_than_the_budget_fail_it_with_the_cause() -> None:
    """The last crash is named."""
    lost = Lost(was_active=True, reason="OutOfMemory", message="runner 7 used 9 GiB")
    observed = observe(activation=RUNNING, news=News(lost=lost), status=status(Phase.EXECUTING, crashes=3))
    end = written(decide(observed, WORKER, NOW_MS))
    assert (end.phase, end.reason) == (Phase.FAILED, "OutOfMemory")
    assert "9 GiB" in end.message


def test_an_evicted_execution_sleeps_without_an_activation_until_it_is_woken() -> None:
    """Eviction of what was written Suspended writes nothing and dispatches nothing; the wake does."""
    parked = msgspec.structs.replace(
        RUNNING, parked_since_ms=NOW_MS, waiting_for=(frames.WaitingItem("Execution", "c", "0"),)
    )
    lost = Lost(was_active=False, reason=EVICTED, message="recycled")
    observed = observe(activation=parked, news=News(lost=lost), status=status(Phase.SUSPENDED))
    plan = decide(observed, WORKER, NOW_MS)
    assert plan == plans.Plan(actions=(plans.ForgetActivation(is_dormant=True),))
    asleep = observe(status=status(Phase.SUSPENDED), dormant=True)
    assert decide(asleep, WORKER, NOW_MS) == plans.NOTHING
    awake = decide(msgspec.structs.replace(asleep, woken=True), WORKER, NOW_MS)
    assert awake.actions == (plans.Dispatch(attempt=1, resumption=1, fencing_token=3),)


@pytest.mark.parametrize("phase", [None, Phase.EXECUTING, Phase.BACKOFF])
def test_what_is_evicted_in_its_first_seconds_of_waiting_is_written_as_suspended(phase: Phase | None) -> None:
    """Nobody would write it later: it would seem to run for as long as it sleeps, and its attempt's time with it."""
    parked = msgspec.structs.replace(
        RUNNING, parked_since_ms=NOW_MS, waiting_for=(frames.WaitingItem("Execution", "c", "0"),)
    )
    lost = Lost(was_active=False, reason=EVICTED, message="recycled")
    before = ExecutionStatus() if phase is None else status(phase, crashes=1)
    plan = decide(observe(activation=parked, news=News(lost=lost), status=before), WORKER, NOW_MS)
    assert (written(plan).phase, written(plan).crashes) == (Phase.SUSPENDED, before.crashes)
    assert [(item.kind, item.name) for item in written(plan).waiting_for] == [("Execution", "c")]
    assert plan.actions == (plans.ForgetActivation(is_dormant=True),)


def test_an_execution_that_is_evicted_with_an_answer_on_its_way_is_dispatched_again_at_once() -> None:
    """What was sent to it is lost with the runner, and is not sent again to one that sleeps."""
    parked = msgspec.structs.replace(RUNNING, parked_since_ms=NOW_MS, told=2, heard=1)
    lost = Lost(was_active=False, reason=EVICTED, message="recycled")
    assert kinds(decide(observe(activation=parked, news=News(lost=lost)), WORKER, NOW_MS))[-1] == "Dispatch"
    has_heard = msgspec.structs.replace(parked, heard=2)
    assert kinds(decide(observe(activation=has_heard, news=News(lost=lost)), WORKER, NOW_MS)) == ["ForgetActivation"]


def test_an_active_execution_whose_runner_was_killed_for_another_one_is_dispatched_again() -> None:
    """It waits for nothing: nobody would wake it."""
    lost = Lost(was_active=False, reason=EVICTED, message="killed to end activation 7")
    plan = decide(observe(activation=RUNNING, news=News(lost=lost)), WORKER, NOW_MS)
    assert kinds(plan) == ["ForgetActivation", "Dispatch"]
    assert plan.actions[0] == plans.ForgetActivation(is_dormant=False)


def test_of_several_suspects_each_runs_again_alone_and_none_is_charged() -> None:
    """Only a crash that nobody else can have caused counts."""
    lost = Lost(was_active=True, was_alone=False, reason="RunnerCrashed", message="x")
    plan = decide(observe(activation=RUNNING, news=News(lost=lost)), WORKER, NOW_MS)
    assert plan.status is None
    assert plan.actions[1] == plans.Dispatch(attempt=1, resumption=1, fencing_token=1, alone=True)


def test_an_inherited_execution_waits_for_its_turn_before_it_is_claimed() -> None:
    """A claim before its turn would be charged for the next crash of the worker."""
    waiting = observe(inherited=True, is_admitted=False)
    assert decide(waiting, WORKER, NOW_MS) == plans.Plan(actions=(plans.AwaitAdmission(),))
    asleep = observe(inherited=True, is_admitted=False, dormant=True, status=status(Phase.SUSPENDED, owner=THEIRS))
    assert decide(asleep, WORKER, NOW_MS) == plans.NOTHING


def test_an_eviction_during_a_step_is_dispatched_again_at_once() -> None:
    """The step was lost with its runner: nothing else would wake the Execution."""
    parked = msgspec.structs.replace(RUNNING, parked_since_ms=NOW_MS, has_step=True)
    lost = Lost(was_active=False, reason=EVICTED, message="recycled")
    assert "Dispatch" in kinds(decide(observe(activation=parked, news=News(lost=lost)), WORKER, NOW_MS))


def test_what_ran_unwritten_and_is_canceled_names_its_owner() -> None:
    """A retry elsewhere must not begin with the fencing token that it had."""
    observed = observe(status=status(Phase.CANCELED), activation=RUNNING, news=News(outcome=frames.Interrupted(1)))
    owner = written(decide(observed, WORKER, NOW_MS)).owner
    assert owner is not None
    assert owner.incarnation == WORKER.incarnation


def test_a_client_cancel_stops_user_code_then_writes_stopped() -> None:
    """Cancel is terminal at once; Stopped follows when nothing runs any more."""
    canceled = status(Phase.CANCELED, message="enough")
    plan = decide(observe(activation=RUNNING, status=canceled), WORKER, NOW_MS)
    assert plan.status is None
    assert plan.actions[0] == plans.StopActivation("enough")
    stopping = msgspec.structs.replace(RUNNING, stopping_since_ms=NOW_MS)
    waiting = decide(observe(activation=stopping, status=canceled), WORKER, NOW_MS + 1000)
    assert waiting == plans.Plan(requeue_after_ms=4000)
    stuck = decide(observe(activation=stopping, status=canceled), WORKER, NOW_MS + 5000)
    assert stuck.actions == (plans.KillActivation(),)
    ended = observe(activation=stopping, status=canceled, news=News(outcome=frames.Interrupted(1)))
    end = decide(ended, WORKER, NOW_MS)
    assert is_stopped(written(end).conditions)
    assert written(end).phase is Phase.CANCELED
    assert "Finish" in kinds(end)


def test_code_that_cannot_notice_a_cancel_is_killed_at_once() -> None:
    """A sync function without a context has no call at which a cancel could be raised: waiting would help nobody."""
    canceled = status(Phase.CANCELED)
    running = decide(observe(activation=RUNNING, status=canceled, is_deaf=True), WORKER, NOW_MS)
    assert kinds(running) == ["StopActivation", "KillActivation"]
    queued = decide(observe(activation=Activation(number=1), status=canceled, is_deaf=True), WORKER, NOW_MS)
    assert kinds(queued) == ["StopActivation", "CancelChildren"]


def test_a_result_that_comes_after_a_cancel_is_discarded() -> None:
    """Canceled cannot turn into Completed."""
    late = News(outcome=frames.Completed(1, b"1"))
    plan = decide(observe(activation=RUNNING, status=status(Phase.CANCELED), news=late), WORKER, NOW_MS)
    assert written(plan).phase is Phase.CANCELED
    assert written(plan).result is msgspec.UNSET


def test_a_child_whose_parent_has_ended_is_canceled_before_it_runs() -> None:
    """A terminal parent leaves nothing behind."""
    plan = decide(observe(cancel_message=PARENT_ENDED_MESSAGE), WORKER, NOW_MS)
    assert (written(plan).phase, written(plan).reason) == (Phase.CANCELED, "CanceledByParent")
    assert is_stopped(written(plan).conditions)
    assert "Dispatch" not in kinds(plan)


def test_a_running_child_whose_parent_has_ended_is_canceled_first_and_stopped_later() -> None:
    """The condition Stopped is not written while its code still runs."""
    plan = decide(observe(activation=RUNNING, cancel_message="no"), WORKER, NOW_MS)
    assert written(plan).phase is Phase.CANCELED
    assert not is_stopped(written(plan).conditions)
    assert "Finish" not in kinds(plan)


def test_the_end_of_its_code_is_no_further_attempt() -> None:
    """The attempt ended with the Execution; what is written once its code has ended, too, is only that."""
    ended = written(decide(observe(activation=RUNNING, cancel_message="no"), WORKER, NOW_MS))
    stopping = msgspec.structs.replace(RUNNING, stopping_since_ms=NOW_MS)
    late = observe(activation=stopping, status=ended, news=News(outcome=frames.Interrupted(1)))
    stopped = written(decide(late, WORKER, NOW_MS + 10))
    assert is_stopped(stopped.conditions)
    assert (stopped.attempts, stopped.attempt_count) == (ended.attempts, 1)


PHASES = st.sampled_from(list(Phase))
OUTCOMES = st.sampled_from(
    [
        None,
        frames.Completed(1, b"1"),
        frames.Failed(1, "UserError", BOOM),
        frames.Mismatched(1, "0", "a", "b"),
        HistoryIncomplete("a page is missing"),
        frames.Interrupted(1),
    ]
)
ACTIVATIONS = st.one_of(
    st.none(),
    st.builds(
        Activation,
        number=st.just(1),
        running_since_ms=st.sampled_from([None, NOW_MS - 100, NOW_MS]),
        parked_since_ms=st.sampled_from([None, NOW_MS - 6000, NOW_MS]),
        stopping_since_ms=st.sampled_from([None, NOW_MS - 6000, NOW_MS]),
    ),
)
NEWS = st.builds(
    News,
    records=st.sampled_from([(), (record("0"),)]),
    flush=st.sampled_from([0, 1]),
    timers_started=st.sampled_from([{}, {"1": NOW_MS + 60_000}]),
    outcome=OUTCOMES,
    lost=st.sampled_from([None, Lost(was_active=True, reason="RunnerCrashed", message="m")]),
)
OBSERVED = st.builds(
    observe,
    status=st.builds(
        ExecutionStatus,
        phase=PHASES,
        owner=st.sampled_from([None, MINE, THEIRS]),
        crashes=st.integers(0, 4),
        resumptions=st.integers(0, 2),
    ),
    activation=ACTIVATIONS,
    news=NEWS,
    inherited=st.booleans(),
    is_admitted=st.booleans(),
    function_known=st.booleans(),
    cancel_message=st.sampled_from(["", "no"]),
)


@given(OBSERVED)
def test_whatever_is_observed_only_legal_transitions_are_written(observed: Observed) -> None:
    """Every phase in a plan is one that the table allows, and a terminal phase never changes."""
    plan = decide(observed, WORKER, NOW_MS)
    if plan.status is None or plan.status.phase is observed.phase:
        return
    assert not observed.phase.is_terminal
    assert plan.status.phase in TRANSITIONS[observed.phase].values()


@given(OBSERVED)
def test_deciding_twice_gives_the_same_plan(observed: Observed) -> None:
    """Decide is a function of what is observed."""
    assert decide(observed, WORKER, NOW_MS) == decide(observed, WORKER, NOW_MS)


def test_an_illegal_transition_names_phase_and_event() -> None:
    """A bug of ours says which."""
    with pytest.raises(Exception, match="Completed cannot take event Started"):
        next_phase(Phase.COMPLETED, PhaseEvent.STARTED)
