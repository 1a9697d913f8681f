"""What operations make of a WaitGroup's status."""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.wait_groups import (
    MAX_COUNTER,
    MAX_HOLDERS,
    MAX_OPERATIONS,
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
        counted = counting.count(status, [one], write_id=f"w{status.operation_count}.{number}")
        (answer,) = counted.answers
        assert not isinstance(answer, Exception), answer
        status = counted.status
    return status


def refusal(status: WaitGroupStatus, operation: Operation) -> str:
    """Apply one that must be refused and change nothing; return what is said."""
    counted = counting.count(status, [operation], write_id="w")
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
    assert counting.count(FRESH, [Operation(delta=-1, clamp=True)], write_id="w").status is FRESH


def test_the_counter_ends_where_its_type_does():
    """It is an int32, as documented."""
    assert after(Operation(delta=MAX_COUNTER)).counter == MAX_COUNTER
    assert f"would exceed {MAX_COUNTER}" in refusal(after(Operation(delta=MAX_COUNTER)), Operation(delta=1))


def test_an_operation_with_an_id_counts_once():
    """Repeated after a lost answer it changes nothing; the answer is the counter."""
    status = after(Operation(delta=5), Operation(delta=-1, id="pod-a"))
    again = counting.count(status, [Operation(delta=-1, id="pod-a")], write_id="w")
    assert (again.status, again.answers) == (status, [4])
    assert "stands for one operation only" in refusal(status, Operation(delta=-2, id="pod-a"))


def test_ids_that_callers_choose_may_look_like_anything():
    """Like the id of a write, like another one with what it added, or with spaces in them."""
    ids = ["w", "a", "a -1", " ", "a b", "+1"]
    status = counting.count(FRESH, [Operation(delta=9)], write_id="w").status
    for one in ids:
        status = counting.count(status, [Operation(delta=-1, id=one)], write_id="v").status
    assert status.counter == 3
    for one in ids:
        assert counting.count(status, [Operation(delta=-1, id=one)], write_id="v").status == status


def test_a_clamped_operation_with_an_id_is_remembered_although_it_changed_nothing():
    """Otherwise its repetition would count what somebody else has added since."""
    status = after(Operation(delta=-1, id="early", clamp=True), Operation(delta=1))
    assert counting.count(status, [Operation(delta=-1, id="early", clamp=True)], write_id="w").answers == [1]


def test_operations_without_ids_share_the_id_of_their_write():
    """However many are combined, one entry tells whether they have been counted."""
    counted = counting.count(FRESH, [Operation(delta=5), Operation(delta=-1), Operation(delta=-9)], write_id="w1")
    assert [one for one in counted.answers if isinstance(one, int)] == [5, 4]
    assert isinstance(counted.answers[2], errors.InvalidState)
    assert counted.status.operations == ["w1"]
    assert counting.has_counted(counted.status, "w1")


def test_only_the_latest_operations_are_remembered_and_the_number_of_all_tells_what_is_not():
    """Who does not find its operation knows whether that proves anything."""
    status = after(*(Operation(delta=1, id=f"o{number}") for number in range(MAX_OPERATIONS + 1)))
    assert len(status.operations) == MAX_OPERATIONS
    assert (status.operations[0], status.operations[-1]) == ("o1 +1", f"o{MAX_OPERATIONS} +1")
    assert counting.may_have_forgotten(status, since=0)
    assert not counting.may_have_forgotten(status, since=1)
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
        counted = counting.count(status, batch, write_id=f"w{len(named)}")
        accepted = [isinstance(answer, int) for answer in counted.answers]
        assert accepted == [model.apply(one) for one in batch]
        repeated = [one for one, is_ok in zip(batch, accepted, strict=True) if one.id and is_ok]
        status = counted.status
        assert counting.count(status, repeated, write_id="again").status == status
        held = {one.uid: one.count for one in status.holders}
        assert held == {uid: held for uid, held in model.bound.items() if held}
        assert (status.counter or 0) == model.unbound + sum(model.bound.values())
        if status != FRESH and status.counter is not None:
            assert counting.settled(status) == status
        if data.draw(st.integers(0, 5)) == 0:
            status = counting.released(status, {POD.uid})
            model.bound.pop(POD.uid, None)
