"""A tree of Executions as lines."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.meta import Condition
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, Phase, Suspension, WaitingFor
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli import execution_tree

Make = Callable[..., Execution]


def draw(top: Execution, others: list[Any], now: datetime) -> list[str]:
    tree = build_tree(top, others)
    return [execution_tree.format_line(line, color=False) for line in execution_tree.draw_tree(tree, now)]


def test_children_stand_below_their_parent(make_execution: Make, now: datetime) -> None:
    """Branches, glyphs, functions, phases and durations."""
    root = make_execution("root", function="index", phase=Phase.EXECUTING, started_at=now - timedelta(seconds=90))
    child = make_execution("root-a", parent="root", phase=Phase.SUSPENDED)
    grandchild = make_execution("root-a-b", parent="root-a", phase=Phase.COMPLETED, started_at=now, finished_at=now)
    assert draw(root, [child, grandchild, make_execution("root-c", parent="root")], now) == [
        "▸ root (index)  Executing  1m30s",
        "├─ ‖ root-a (build)  Suspended",
        "│  └─ ✓ root-a-b (build)  Completed  0ms",
        "└─ · root-c (build)  Pending",
    ]


def test_many_siblings_are_folded_but_trouble_is_shown(make_execution: Make, now: datetime) -> None:
    """Counts for all of them; failed and running ones by name, failed first."""
    root = make_execution("root", function="index", phase=Phase.EXECUTING)
    phases = [Phase.COMPLETED] * 6 + [Phase.EXECUTING, Phase.FAILED, Phase.PENDING, Phase.PENDING]
    children = [make_execution(f"root-{n}", parent="root", phase=phase) for n, phase in enumerate(phases)]
    assert draw(root, children, now) == [
        "▸ root (index)  Executing",
        "└─ ✗ build 6/10  1 executing, 1 failed",
        "   ├─ ✗ root-7  Failed",
        "   └─ ▸ root-6  Executing",
    ]


def test_siblings_of_other_functions_are_not_folded_along(make_execution: Make, now: datetime) -> None:
    """A fold is of one function."""
    root = make_execution("root", phase=Phase.EXECUTING)
    children = [make_execution(f"root-{n}", parent="root", phase=Phase.COMPLETED) for n in range(9)]
    lines = draw(root, [*children, make_execution("root-x", parent="root", function="deploy")], now)
    assert lines[1:] == ["├─ ✓ build 9/9", "└─ · root-x (deploy)  Pending"]


def test_children_are_in_the_order_of_their_calls(make_execution: Make, now: datetime) -> None:
    """The tenth call stands after the second."""
    root = make_execution("root")
    lines = draw(root, [make_execution(f"call-{n}", parent="root") for n in (10, 2, 1)], now)
    assert [line.split()[2] for line in lines[1:]] == ["call-1", "call-2", "call-10"]


def test_levels_past_the_screen_are_counted(make_execution: Make, now: datetime) -> None:
    """Thousands of nested Executions are drawn without recursing into them; the last line says how to go on."""
    chain = [make_execution("root"), make_execution("n-0", parent="root")]
    chain += [make_execution(f"n-{n}", parent=f"n-{n - 1}") for n in range(1, 3000)]
    lines = draw(chain[0], chain, now)
    assert len(lines) == execution_tree.MAX_DEPTH + 2
    last_drawn = f"n-{execution_tree.MAX_DEPTH - 1}"
    assert lines[-2].endswith(f"· {last_drawn} (build)  Pending")
    hidden = 3000 - execution_tree.MAX_DEPTH
    assert lines[-1].endswith(f"· ... {hidden} Executions in deeper levels not shown  kontinue tree {last_drawn}")


def test_a_line_says_why(make_execution: Make, now: datetime) -> None:
    """Failures with reason and message, retries and resumptions with their number."""
    execution = make_execution(
        "x", phase=Phase.FAILED, reason="ValueError", message="no\nluck", attempt_count=3, resumptions=2
    )
    assert draw(execution, [], now) == ["✗ x (build)  Failed  attempt 3  resumed 2x  ValueError: no luck"]


def test_earlier_attempts_are_shown(make_execution: Make, now: datetime) -> None:
    """What failed before the attempt that runs."""
    attempts = [
        ExecutionAttempt(number=1, phase=Phase.FAILED, message="timeout"),
        ExecutionAttempt(number=2, phase=Phase.EXECUTING),
    ]
    execution = make_execution("x", phase=Phase.EXECUTING, attempts=attempts, attempt_count=2)
    assert draw(execution, [], now)[1] == "└─ ✗ attempt 1  Failed: timeout"


def test_what_is_waited_for_is_one_line(make_execution: Make, now: datetime) -> None:
    """The first thing in full, the others as a number."""
    waiting = [
        WaitingFor(kind="Timer", name="bake", until=now + timedelta(minutes=5)),
        WaitingFor(kind="Execution", name="x-1"),
    ]
    execution = make_execution("x", phase=Phase.SUSPENDED, waiting_for=waiting)
    assert execution_tree.waiting_text(execution, now) == "Timer bake in 5m00s and 1 more"
    assert execution_tree.waiting_text(make_execution("y"), now) == ""
    gate = WaitingFor(kind="Gate", name="deploy", message="0/1 met")
    limited = make_execution(
        "z", phase=Phase.SUSPENDED, waiting_for=[gate, WaitingFor(kind="Timer", until=now + timedelta(minutes=1))]
    )
    assert execution_tree.waiting_text(limited, now) == "Gate deploy: 0/1 met, Timer in 1m00s"


def test_what_runs_says_after_which_step_and_since_when(make_execution: Make, now: datetime) -> None:
    """Unless there is something that it waits for."""
    recorded = Condition(
        type="Progressing",
        status="True",
        reason="StepRecorded",
        message="after step charge",
        last_transition_time=now - timedelta(minutes=5),
    )
    execution = make_execution("x", phase=Phase.EXECUTING, conditions=[recorded])
    assert execution_tree.message_of(execution, now) == "after step charge, 5m ago"
    no_room = WaitingFor(kind="Worker", name="w-0", message="all its runners are busy")
    execution = make_execution("x", phase=Phase.EXECUTING, conditions=[recorded], waiting_for=[no_room])
    assert execution_tree.message_of(execution, now) == "Worker w-0: all its runners are busy"
    parked = make_execution("x", phase=Phase.SUSPENDED, conditions=[recorded])
    assert execution_tree.message_of(parked, now) == ""


def test_a_skipped_or_canceled_fold_is_not_called_running(make_execution: Make, now: datetime) -> None:
    """The glyph of a fold is that of its most telling phase."""
    root = make_execution("root")
    done = [make_execution(f"root-{n}", parent="root", phase=Phase.CANCELED) for n in range(9)]
    assert draw(root, done, now)[1] == "└─ ⊘ build 0/9  9 canceled"


def test_duration_needs_a_start_or_an_end(make_execution: Make, now: datetime) -> None:
    """A short Execution is written only at its end: then it counts from its creation."""
    assert execution_tree.duration_of(make_execution("x"), now) is None
    ended = make_execution("x", phase=Phase.COMPLETED, finished_at=now)
    assert execution_tree.duration_of(ended, now) == timedelta(minutes=1)


def test_the_parent_is_the_owning_execution(make_execution: Make) -> None:
    """Roots have none."""
    assert execution_tree.parent_name(make_execution("x", parent="root")) == "root"
    assert execution_tree.parent_name(make_execution("root")) == ""


def test_between_two_attempts_it_says_when_the_next_one_begins(make_execution: Make, now: datetime) -> None:
    """And why; the attempt that has failed is an earlier one already."""
    execution = make_execution(
        "x",
        phase=Phase.BACKOFF,
        reason="UserError",
        message="no luck",
        attempts=[ExecutionAttempt(number=1, phase=Phase.FAILED, message="no luck", finished_at=now)],
        attempt_count=1,
        waiting_for=[WaitingFor(kind="Timer", name="attempt 2", until=now + timedelta(seconds=30))],
    )
    assert draw(execution, [], now) == [
        "↻ x (build)  Backoff  Timer attempt 2 in 30s; UserError: no luck",
        "└─ ✗ attempt 1  Failed: no luck",
    ]


def wait_of(of: str, name: str, now: datetime, **spec: Any) -> Any:
    """Return a Suspension or Job of the Execution ``root``, a minute old."""
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "root", "uid": "uid-root"}
    meta = {
        "name": name,
        "uid": name,
        "creationTimestamp": now - timedelta(minutes=1),
        "ownerReferences": [owner],
        "annotations": {labels.STEP: name, labels.DISPLAY_NAME: "migrate"},
    }
    status = {"active": 1, "startTime": now - timedelta(seconds=5)} if of == "Job" else {}
    type_: Any = Job if of == "Job" else Suspension
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, type_)


def test_suspensions_and_jobs_stand_below_their_execution(make_execution: Make, now: datetime) -> None:
    """How long they wait, until when, and what they are called; many are folded."""
    root = make_execution("root", function="index", phase=Phase.SUSPENDED)
    late = now + timedelta(minutes=5)
    question = wait_of("Suspension", "a", now, execution="root", kind="Manual", displayName="Ship it?")
    sleep = wait_of("Suspension", "b", now, execution="root", kind="Sleep", resumeAt=late)
    assert draw(root, [question, sleep, wait_of("Job", "c", now)], now) == [
        "‖ root (index)  Suspended",
        "├─ ‖ a (Suspension)  Suspended  1m00s  Ship it?",
        "├─ ‖ b (Suspension)  Suspended  1m00s  due in 5m00s",
        "└─ ▸ c (Job)  Executing  5.0s  migrate",
    ]
    jobs = [wait_of("Job", f"j{number}", now) for number in range(9)]
    assert draw(root, jobs, now)[1] == "└─ ▸ Job 0/9  9 executing"
