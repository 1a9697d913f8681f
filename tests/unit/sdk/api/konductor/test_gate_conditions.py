"""Conditions of Gates as people write them."""

from __future__ import annotations

import pytest

from kontinue.api.konductor.gates import STATES, GateCondition, GateState, GateTarget, parse_condition


@pytest.mark.parametrize(("target", "state"), [(target, state) for target in STATES for state in STATES[target]])
def test_a_condition_is_read_as_it_is_written(target: GateTarget, state: GateState):
    """Whatever state of whatever kind; upper and lower case make no difference."""
    condition = GateCondition(type=target, name="it", state=state)
    assert str(condition) == f"{target}/it={state}"
    for text in (str(condition), str(condition).lower()):
        assert parse_condition(text) == condition
    elsewhere = GateCondition(type=target, name="it", state=state, namespace="there")
    assert parse_condition(str(elsewhere)) == elsewhere


def test_permits_are_counted():
    """By a number behind the state."""
    assert parse_condition("semaphore/db=available:3").value == 3
    assert str(parse_condition("Semaphore/db=Available:3")) == "Semaphore/db=Available:3"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is none of Job, "),
        ("Pod/a=Complete", "'Pod' is none of Job, "),
        ("Job=Complete", "names no object"),
        ("Job/=Complete", "names no object"),
        ("Job/a/b/c=Complete", "names no object"),
        ("Job//=Complete", "names no object"),
        ("Job/a", "'' is none of Complete, Failed, Active, Pending"),
        ("Job/a=Locked", "'Locked' is none of Complete, Failed, Active, Pending"),
        ("Semaphore/a=Available:x", "'x' is not a number of permits"),
        ("Semaphore/a=Available:-1", "'-1' is not a number of permits"),
        ("Mutex/a=Locked:1", "only a Semaphore has permits"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str):
    """With the words that are possible."""
    with pytest.raises(ValueError, match=why):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Semaphore/db=Available:", "its VALUE is empty"),
        ("Mutex/a=Locked:", "its VALUE is empty"),
        ("Job//x=Complete", "its NAMESPACE is empty"),
        ("Job//x=Complete:", "its NAMESPACE is empty"),
    ],
)
def test_a_part_that_is_empty_is_not_the_default(text: str, why: str):
    """A variable that a script has not set asks about nothing else than was meant; text and part are named."""
    with pytest.raises(ValueError, match=f"^{text!r}: {why}"):
        parse_condition(text)
