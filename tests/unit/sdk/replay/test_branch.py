"""Step ids: the same in every process, independent of other branches."""

from __future__ import annotations

from kontinue.replay.branch import Branch


def test_step_ids_count_within_a_branch() -> None:
    """Calls, timers and draws have counters of their own."""
    root = Branch()

    assert [root.next_step(), root.next_timer(), root.next_draw(), root.next_step()] == ["1", "t1", "u1", "2"]


def test_branch_ids_are_stable_texts() -> None:
    """A branch's id depends on where it was born and nothing else: it is stored in memos for good."""
    branch = Branch().fork("work")

    assert branch.id == "386099b976f1"
    assert [branch.next_step(), branch.next_timer()] == ["386099b976f1-1", "386099b976f1-t1"]


def test_branches_born_at_one_place_differ_by_name_and_number() -> None:
    """Two tasks of one coroutine function started after the same call are told apart."""
    root = Branch()

    ids = {root.fork("work").id, root.fork("work").id, root.fork("other").id}

    assert len(ids) == 3


def test_foreign_names_do_not_shift_the_number_of_a_branch() -> None:
    """A library that starts tasks of its own in between does not rename the user's."""
    plain, disturbed = Branch(), Branch()
    disturbed.fork("library.helper")

    assert disturbed.fork("work").id == plain.fork("work").id


def test_a_durable_call_starts_the_count_of_births_anew() -> None:
    """Births are counted since the last call: more tasks before it do not rename those after it."""
    few, many = Branch(), Branch()
    few.fork("work")
    many.fork("work")
    many.fork("work")
    few.next_step()
    many.next_step()

    assert few.fork("work").id == many.fork("work").id
