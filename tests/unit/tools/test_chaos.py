"""The judges of ``make chaos`` see what is wrong: each promise is broken once on purpose."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chaos.checks import check_all
from chaos.figures import percentile
from chaos.ledger import Effect, Ledger, has_gone_on
from chaos.observer import SeenExecution, changes_that_must_not_be
from kontinue.api.v1alpha1 import Execution


def report(step: str, *, token: int = 1, holder: int = 1, **more: Any) -> dict[str, Any]:
    return {"execution": "e", "step": step, "token": token, "holder": holder, "runner": holder + 1000, **more}


def record(step: str, seq: int, value: Any, **more: Any) -> dict[str, Any]:
    return {"id": step, "kind": "step", "name": "effect", "digest": "", "seq": seq, "atMs": 0, "value": value, **more}


def execution(records: list[dict[str, Any]], *, result: Any, name: str = "e", **more: Any) -> dict[str, Any]:
    status = {"phase": "Completed", "result": result, "state": {"records": records}}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", **more},
        "spec": {"function": "steady", "arguments": {}},
        "status": status,
    }


def judge(ledger: Ledger, *objects: dict[str, Any]) -> list[str]:
    return check_all([msgspec.convert(one, Execution) for one in map(_raw, objects)], ledger)


def _raw(given: dict[str, Any]) -> dict[str, Any]:
    status, spec = given["status"], given["spec"]
    raw = {key: msgspec.Raw(msgspec.json.encode(status[key])) for key in ("result", "state") if key in status}
    spec = {**spec, "arguments": msgspec.Raw(msgspec.json.encode(spec["arguments"]))}
    return {**given, "spec": spec, "status": {**status, **raw}}


def ledger_of(*steps: str) -> Ledger:
    ledger = Ledger()
    for step in steps:
        ledger.accept(report(step), 0.0)
    return ledger


def test_an_execution_that_did_all_it_says_is_fine() -> None:
    """A run without a fault has no violations."""
    good = execution([record("1", 1, "1"), record("2", 2, "2")], result=["1", "2"])
    assert judge(ledger_of("1", "2"), good) == []


@pytest.mark.parametrize(
    ("problem", "records", "result"),
    [
        ("recorded twice", [record("1", 1, "1"), record("1", 2, "1")], ["1", "1"]),
        ("out of order", [record("1", 2, "1")], ["1"]),
        ("its result is", [record("1", 1, "1")], ["2"]),
        ("has recorded effect", [record("1", 1, "7")], ["7"]),
    ],
)
def test_a_memo_or_result_that_cannot_be_is_found(problem: str, records: list[dict[str, Any]], result: Any) -> None:
    """Records stand once and in order, carry what happened, and make up the result."""
    assert any(problem in violation for violation in judge(ledger_of("1"), execution(records, result=result)))


def test_a_recorded_step_that_ran_again_is_found() -> None:
    """Its record is then not its last effect."""
    assert judge(ledger_of("1", "1"), execution([record("1", 1, "1")], result=["1"]))


def test_an_execution_that_has_not_completed_is_found() -> None:
    """Lost, failed or stuck: the load never fails by itself."""
    stuck = execution([], result=None)
    stuck["status"] = {"phase": "Executing"}
    assert judge(Ledger(), stuck)


def test_a_child_that_its_parent_does_not_know_is_found_and_so_is_one_that_is_gone() -> None:
    """Parents and children are consistent in both directions."""
    owner = {"apiVersion": "v", "kind": "Execution", "name": "e", "uid": "uid-e", "controller": True}
    child = execution([], result=[], name="child", ownerReferences=[owner])
    known = record("1", 1, [], kind="child", child={"name": "child", "uid": "uid-child", "phase": "Completed"})
    assert judge(Ledger(), execution([known], result=[]), child) == []
    assert judge(Ledger(), execution([], result=[]), child)
    assert judge(Ledger(), execution([known], result=[]))
    assert judge(Ledger(), child)


def test_the_ledger_refuses_a_token_lower_than_one_it_has_seen() -> None:
    """A replica that was replaced has no effect any more."""
    ledger = Ledger()
    assert ledger.accept(report("1", token=2), 0.0) == 1
    assert ledger.accept(report("1", token=1), 0.0) is None
    assert (ledger.refused, ledger.violations) == (1, [])


def test_two_replicas_in_turn_with_one_token_are_a_violation() -> None:
    """The receiver has no means to tell which of them is stale."""
    ledger = Ledger()
    for holder in (1, 2, 1):
        ledger.accept(report("1", holder=holder), 0.0)
    assert len(ledger.violations) == 1


def test_two_holders_of_a_mutex_are_a_violation() -> None:
    """Until the first has left."""
    ledger = Ledger()
    ledger.accept(report("1", enter="m"), 0.0)
    ledger.accept({**report("1", enter="m"), "execution": "other"}, 0.0)
    assert len(ledger.violations) == 1
    ledger.accept(report("2", leave="m"), 0.0)
    ledger.accept({**report("2", enter="m"), "execution": "third"}, 0.0)
    assert len(ledger.violations) == 1


def test_more_at_once_than_a_limit_allows_are_a_violation() -> None:
    """Also if one of them was killed and has not come back: it keeps its slot until it says that it leaves."""
    ledger = Ledger({"f": 2})
    for name in ("a", "b", "a"):
        assert ledger.accept({**report("1", take="f"), "execution": name}, 0.0)
    ledger.accept({**report("1", token=2, holder=2, take="f"), "execution": "a"}, 0.0)
    assert (ledger.violations, ledger.most_at_once, ledger.slots_taken) == ([], 2, 2)
    ledger.accept({**report("2", leave_slot="f"), "execution": "b"}, 0.0)
    ledger.accept({**report("1", take="f"), "execution": "c"}, 0.0)
    assert (ledger.violations, ledger.most_at_once, ledger.slots_taken) == ([], 2, 3)
    assert ledger.accept({**report("2", token=1, leave_slot="f"), "execution": "a"}, 0.0) is None
    ledger.accept({**report("1", take="f"), "execution": "d"}, 0.0)
    assert ledger.violations == ["f has a limit of 2, and these run at once: a, c, d"]
    assert ledger.most_at_once == 3


@pytest.mark.parametrize(
    ("before", "after", "is_wrong"),
    [
        ({"epoch": 1, "incarnation": "a"}, {"epoch": 2, "incarnation": "b"}, False),
        ({"epoch": 2, "incarnation": "b"}, {"epoch": 1, "incarnation": "a"}, True),
        ({"epoch": 1, "incarnation": "a"}, {"epoch": 1, "incarnation": "b"}, True),
    ],
)
def test_epochs_only_grow_and_have_one_owner_each(before: Any, after: Any, *, is_wrong: bool) -> None:
    """What fencing tokens are made of."""
    assert bool(changes_that_must_not_be(seen(owner=before), seen(owner=after))) is is_wrong


def test_an_end_is_final() -> None:
    """Completed does not become anything else, and what has ended is not moved."""
    ended = seen(phase="Completed")
    assert changes_that_must_not_be(ended, ended) == []
    assert changes_that_must_not_be(ended, seen(phase="Executing"))
    assert changes_that_must_not_be(ended, seen(phase="Completed", shard="w-1"))


def seen(*, shard: str = "w-0", owner: dict[str, Any] | None = None, phase: str | None = None) -> SeenExecution:
    metadata = {"name": "e", "uid": "u", "labels": {"kontinue.cloud/shard": shard}}
    status = {"phase": phase, "owner": {"shard": shard, **owner} if owner else None}
    return msgspec.convert({"metadata": metadata, "spec": {"function": "f"}, "status": status}, SeenExecution)


def test_work_goes_on_when_it_has_effects_that_were_not_under_way() -> None:
    """Two after the fault, or one of a runner that the fault has not ended."""
    effects = [Effect(n, "e", "1", 1, 1, runner, at_s) for n, runner, at_s in [(1, 7, 0.5), (2, 7, 1.5), (3, 8, 2.5)]]
    assert has_gone_on(effects, 1.0)
    assert not has_gone_on(effects[:2], 1.0)
    assert not has_gone_on(effects[:2], 0.0, dead=[7])
    assert has_gone_on(effects, 0.0, dead=[7])


def test_a_percentile_is_one_of_the_values() -> None:
    """No interpolation."""
    assert (percentile([3, 1, 2], 0.5), percentile([1, 2], 0.99), percentile([5], 0.5)) == (2, 2, 5)
