"""What operations make of a WaitGroup's status."""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Operation, Write
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.wait_groups import (
    MAX_COUNTER,
    MAX_HOLDERS,
    MAX_OPERATIONS,
    MAX_WRITERS,
    WaitGroupHolder,
    WaitGroupPhase,
    WaitGroupStatus,
)

FRESH = WaitGroupStatus()
POD = Holder(kind=HolderKind.POD, name="worker-0", uid="u0")
OTHER = Holder(kind=HolderKind.EXECUTION, name="build", uid="u1")


def after(*operations: Operation, status: WaitGroupStatus = FRESH) -> WaitGroupStatus:
    """Apply operations one by one; none may be refused."""
    for number, one in enumerate(operations):
        counted = counting.count(status, [one], writer=f"w{number}")
        (answer,) = counted.answers
        assert not isinstance(answer, Exception), answer
        status = counted.status
    return status


def refusal(status: WaitGroupStatus, operation: Operation) -> str:
    """Apply one that must be refused and change nothing; return what is said."""
    counted = counting.count(status, [operation], writer="w")
    (answer,) = counted.answers
    assert isinstance(answer, errors.InvalidState)
    assert counted.status == status
    return str(answer)


def test_adding_and_doing_move_the_counter_and_its_phase():
    """The phase never contradicts the counter: both are one value."""
    status = after(Operation(delta=3), Operation(delta=-1))
    assert (status.counter, status.phase, status.added, status.rounds) == (2, WaitGroupPhase.WAITING, 3, 0)
    status = after(Operation(delta=-2), status=status)
    assert (status.counter, status.phase, status.added, status.rounds) == (0, WaitGroupPhase.DONE, 3, 1)


def test_one_that_is_done_opens_again():
    """What is added after the end is waited for like the first."""
    status = after(Operation(delta=1), Operation(delta=-1), Operation(delta=2))
    assert (status.counter, status.phase, status.rounds) == (2, WaitGroupPhase.WAITING, 1)


def test_the_counter_never_falls_below_0():
    """Who has done too often hears of it, with the counter."""
    assert "the counter is 0: it cannot go below 0 by 1 done" in refusal(FRESH, Operation(delta=-1))
    assert "the counter is 2: it cannot go below 0 by 3 done" in refusal(after(Operation(delta=2)), Operation(delta=-3))


def test_a_clamped_operation_stops_at_0():
    """As the original does it, for scripts that rely on it."""
    assert after(Operation(delta=2), Operation(delta=-3, clamp=True)).counter == 0
    assert counting.count(FRESH, [Operation(delta=-1, clamp=True)], writer="w").status is FRESH


def test_the_counter_ends_where_its_type_does():
    """It is an int32, as documented."""
    assert after(Operation(delta=MAX_COUNTER)).counter == MAX_COUNTER
    assert f"would exceed {MAX_COUNTER}" in refusal(after(Operation(delta=MAX_COUNTER)), Operation(delta=1))


def test_an_operation_with_an_id_counts_once():
    """Repeated after a lost answer it changes nothing; the answer is the counter."""
    status = after(Operation(delta=5), Operation(delta=-1, id="pod-a"))
    again = counting.count(status, [Operation(delta=-1, id="pod-a")], writer="w")
    assert (again.status, again.answers) == (status, [4])
    assert "stands for one operation only" in refusal(status, Operation(delta=-2, id="pod-a"))


def test_ids_that_callers_choose_may_look_like_anything():
    """Like the id of a write, like another one with what it added, or with spaces in them."""
    ids = ["w", "a", "a -1", " ", "a b", "+1"]
    status = counting.count(FRESH, [Operation(delta=9)], writer="w").status
    for one in ids:
        status = counting.count(status, [Operation(delta=-1, id=one)], writer="v").status
    assert status.counter == 3
    for one in ids:
        assert counting.count(status, [Operation(delta=-1, id=one)], writer="v").status == status


def test_a_clamped_operation_with_an_id_is_remembered_although_it_changed_nothing():
    """Otherwise its repetition would count what somebody else has added since."""
    status = after(Operation(delta=-1, id="early", clamp=True), Operation(delta=1))
    assert counting.count(status, [Operation(delta=-1, id="early", clamp=True)], writer="w").answers == [1]


def written_by(status: WaitGroupStatus, *writers: str) -> WaitGroupStatus:
    """Have each add 1, in a write of its own."""
    for writer in writers:
        status = counting.count(status, [Operation(delta=1)], writer=writer).status
    return status


def test_one_entry_tells_whether_all_operations_of_a_write_have_been_counted():
    """However many are combined."""
    counted = counting.count(FRESH, [Operation(delta=5), Operation(delta=-1), Operation(delta=-9)], writer="w1")
    assert [one for one in counted.answers if isinstance(one, int)] == [5, 4]
    assert isinstance(counted.answers[2], errors.InvalidState)
    assert (counted.status.writers, counted.status.write_count) == (["w1.1"], 1)
    assert counting.has_counted(counted.status, Write("w1", 1))
    assert not counting.has_counted(counted.status, Write("w1", 2))
    assert not counting.has_counted(counted.status, Write("w", 1))


def test_of_each_writer_the_latest_write_is_remembered_in_the_order_of_writing():
    """One that writes a thousand times does not make others forgotten, nor the object larger."""
    status = written_by(FRESH, "a", "b", *["c"] * MAX_WRITERS, "a")
    assert status.writers == ["b.2", f"c.{MAX_WRITERS + 2}", f"a.{MAX_WRITERS + 3}"]
    assert not counting.may_have_forgotten(status, since=0)


def test_of_many_writers_the_latest_are_remembered_and_the_number_of_writes_tells_what_is_not():
    """Who does not find its write knows whether that proves anything."""
    status = written_by(FRESH, *(f"w{number}" for number in range(MAX_WRITERS + 1)))
    assert (len(status.writers), status.writers[0]) == (MAX_WRITERS, "w1.2")
    assert counting.may_have_forgotten(status, since=0)
    assert not counting.may_have_forgotten(status, since=1)


def test_a_status_without_what_was_remembered_proves_nothing():
    """A program that does not know these fields has written it: an absent entry may have been dropped."""
    status = written_by(FRESH, "a", "b")
    dropped = WaitGroupStatus(counter=status.counter, phase=status.phase)
    assert counting.may_have_forgotten(dropped, since=1)
    assert counting.may_have_forgotten(dropped, since=0)
    assert not counting.may_have_forgotten(counting.numbered(status), since=2)


def test_a_status_that_is_the_same_has_not_been_written():
    """Labels, annotations and the spec change the object without it."""
    status = written_by(FRESH, "a", "b")
    assert counting.is_unwritten(status, since=msgspec.structs.replace(status))
    assert not counting.is_unwritten(written_by(status, "b"), since=status)
    assert counting.is_unwritten(FRESH, since=FRESH)


def test_a_status_that_is_the_same_proves_nothing_where_others_number_no_writes():
    """A done of ours, and an add by a program that drops what it does not know, leave what was there before."""
    status = WaitGroupStatus(counter=10)
    assert not counting.is_unwritten(WaitGroupStatus(counter=10), since=status)


def test_a_write_says_for_how_long_others_of_its_writer_follow():
    """In microseconds, as others read it."""
    stored = [
        counting.count(FRESH, [Operation(delta=1)], writer="w", goes_on_for_s=goes_on_for_s).status.writers
        for goes_on_for_s in (None, 0.0, 0.01725)
    ]
    assert stored == [["w.1"], ["w.1+0"], ["w.1+17250"]]
    assert [counting.write_of(one).goes_on_for_s for (one,) in stored] == [None, 0.0, 0.01725]


@given(st.text())
def test_whatever_a_person_writes_among_the_writers_does_no_harm(text: str):
    """It is read as a write of somebody, and the next ones are remembered beside it."""
    status = written_by(msgspec.structs.replace(FRESH, writers=[text]), "w")
    assert counting.has_counted(status, Write("w", 1))
    assert counting.write_of(text).number >= 0


def test_only_the_latest_operations_are_remembered_and_the_number_of_all_tells_that_there_were_others():
    """Who does not find its operation knows whether that proves anything; writes without ids take no room from them."""
    named = [Operation(delta=1, id=f"o{number}") for number in range(MAX_OPERATIONS + 1)]
    status = after(*named[:-1], *[Operation(delta=1)] * MAX_OPERATIONS)
    assert not counting.may_have_forgotten_operations(status)
    status = after(named[-1], status=status)
    assert len(status.operations) == MAX_OPERATIONS
    assert (status.operations[0], status.operations[-1]) == ("o1 +1", f"o{MAX_OPERATIONS} +1")
    assert counting.may_have_forgotten_operations(status)
    assert [counting.remembers(status, one) for one in ("o0", "o1", "o")] == [False, True, False]


def test_a_holder_does_only_what_it_has_added():
    """Counts of others are not its to take, nor are its counts theirs."""
    status = after(Operation(delta=2, holder=POD), Operation(delta=1))
    assert "Pod worker-0 holds 2 of the counter 3: 3 cannot be done for it" in refusal(
        status, Operation(delta=-3, holder=POD)
    )
    assert "of which 2 belong to holders" in refusal(status, Operation(delta=-2))
    status = after(Operation(delta=-2, holder=POD), status=status)
    assert (status.counter, status.holders) == (1, [])


def test_what_a_dead_holder_held_is_released():
    """And nothing of anybody else's."""
    status = after(Operation(delta=2, holder=POD), Operation(delta=3, holder=OTHER), Operation(delta=1))
    left = counting.released(status, {POD.uid})
    assert (left.counter, [one.uid for one in left.holders]) == (4, [OTHER.uid])
    assert counting.released(left, {POD.uid}) is left


def test_the_last_release_ends_a_round():
    """Whoever waits is woken as by the last done."""
    left = counting.released(after(Operation(delta=2, holder=POD)), {POD.uid})
    assert (left.counter, left.phase, left.rounds) == (0, WaitGroupPhase.DONE, 1)


def test_holders_are_limited():
    """Each write carries them all."""
    holders = [WaitGroupHolder(kind=HolderKind.POD, name=f"p{n}", uid=f"{n}", count=1) for n in range(MAX_HOLDERS)]
    status = counting.settled(WaitGroupStatus(counter=MAX_HOLDERS, holders=holders))
    assert "use another one" in refusal(status, Operation(delta=1, holder=POD))


def test_an_edited_counter_decides_over_everything_that_follows_from_it():
    """Phase, holders and the sum of all that was added are brought in line."""
    status = after(Operation(delta=2, holder=POD), Operation(delta=3, holder=OTHER))
    edited = counting.settled(msgspec.structs.replace(status, counter=3))
    assert (edited.counter, [one.count for one in edited.holders]) == (3, [2, 1])
    emptied = counting.settled(msgspec.structs.replace(status, counter=0))
    assert (emptied.phase, emptied.holders) == (WaitGroupPhase.DONE, [])
    alone = counting.settled(WaitGroupStatus(counter=7))
    assert (alone.phase, alone.added) == (WaitGroupPhase.WAITING, 7)
    assert counting.settled(FRESH) == WaitGroupStatus(counter=0, phase=WaitGroupPhase.DONE)


@dataclasses.dataclass
class Model:
    """A WaitGroup, as simply as it can be said."""

    bound: Counter[str] = dataclasses.field(default_factory=Counter)
    unbound: int = 0
    done: set[str] = dataclasses.field(default_factory=set)

    def apply(self, operation: Operation) -> bool:
        """Apply an operation; returns whether it was accepted."""
        if operation.id in self.done:
            return True
        mine = self.unbound if operation.holder is None else self.bound[operation.holder.uid]
        delta = max(operation.delta, -mine) if operation.clamp else operation.delta
        if mine + delta < 0:
            return False
        if operation.holder is None:
            self.unbound += delta
        else:
            self.bound[operation.holder.uid] += delta
        self.done.update({operation.id} - {""})
        return True


OPERATIONS = st.lists(
    st.builds(
        Operation,
        delta=st.integers(-4, 4),
        holder=st.sampled_from([None, POD, OTHER]),
        clamp=st.booleans(),
    ),
    max_size=12,
)


@given(OPERATIONS, st.data())
def test_any_operations_in_any_writes_count_as_in_the_model(operations: list[Operation], data: st.DataObject):
    """However they are combined and whatever is repeated: accepted, refused and counted as one by one."""
    named = [
        msgspec.structs.replace(one, id=f"o{n}") if data.draw(st.booleans()) else one
        for n, one in enumerate(operations)
    ]
    model, status = Model(), FRESH
    while named:
        batch = [named.pop(0) for _ in range(data.draw(st.integers(1, len(named))))]
        counted = counting.count(status, batch, writer=f"w{len(named)}")
        accepted = [isinstance(answer, int) for answer in counted.answers]
        assert accepted == [model.apply(one) for one in batch]
        repeated = [one for one, is_ok in zip(batch, accepted, strict=True) if one.id and is_ok]
        status = counted.status
        assert counting.count(status, repeated, writer="again").status == status
        held = {one.uid: one.count for one in status.holders}
        assert held == {uid: held for uid, held in model.bound.items() if held}
        assert (status.counter or 0) == model.unbound + sum(model.bound.values())
        if status != FRESH and status.counter is not None:
            assert counting.settled(status) == status
        if data.draw(st.integers(0, 5)) == 0:
            status = counting.released(status, {POD.uid})
            model.bound.pop(POD.uid, None)
