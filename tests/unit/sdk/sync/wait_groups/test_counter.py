"""Operations on a WaitGroup as conditional writes: combined, repeated, and counted once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.wait_groups import MAX_WRITERS, WaitGroupStatus
from kontinue.kube.requests import Request
from kontinue.sync.wait_groups import counter, turns
from kontinue.sync.wait_groups.counter import Counter
from stored_wait_group import StoredWaitGroup
from virtual_time import elapsed_s, virtual_time

ADD = Operation(delta=1)
DONE = Operation(delta=-1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(turns, "FIRST_PAUSE", 0.0)


def counter_of(
    stored: StoredWaitGroup, *, retry_for_s: float = 30.0, random: Callable[[], float] = lambda: 0.5
) -> Counter:
    return Counter(stored, "default", "jobs", retry_for_s=retry_for_s, random=random)


def written(counter: int) -> WaitGroupStatus:
    """Return a status that somebody has written who numbers writes."""
    return counting.count(WaitGroupStatus(), [Operation(delta=counter)], writer="theirs").status


class Failing:
    """Raises for the first PUTs, then no more."""

    def __init__(self, error: Exception, *, puts: int) -> None:
        self._error = error
        self._left = puts

    def __call__(self, request: Request) -> None:
        if request.method == "PUT" and self._left:
            self._left -= 1
            raise self._error


async def test_operations_at_the_same_time_become_one_write():
    """The first goes alone; what is asked for meanwhile goes together."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    answers = await asyncio.gather(*(subject.count(ADD) for _ in range(20)))
    assert (sorted(answers), stored.group.counter) == (list(range(1, 21)), 20)
    assert stored.sent.count("PUT") <= 2
    assert stored.sent.count("GET") == 1


async def test_who_has_written_last_need_not_read_before_the_next_write():
    """One request for each operation of a process that is alone."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    for _ in range(3):
        await subject.count(ADD)
    assert stored.sent == ["GET", "PUT", "PUT", "PUT"]


async def test_a_conflict_is_resolved_by_what_stands_there_then():
    """What somebody else has counted meanwhile stays."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    await subject.count(ADD)
    stored.write(counting.count(stored.group.status, [Operation(delta=5)], writer="theirs").status)
    assert await subject.count(DONE) == 5


@virtual_time
async def test_after_a_turn_the_status_is_read_again():
    """Others were left time to write: what our last write left is probably old."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    written = (turns.FIRST_IN_A_ROW, turns.IN_A_ROW_ALONE, 1)
    for _ in range(sum(written)):
        await subject.count(ADD)
    assert stored.group.counter == sum(written)
    assert stored.sent == [method for count in written for method in ("GET", *["PUT"] * count)]


async def test_what_is_refused_is_judged_by_the_newest_status():
    """A done after an add of another process is right, whatever we remember."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    await subject.count(ADD)
    await subject.count(DONE)
    stored.write(counting.count(stored.group.status, [ADD], writer="theirs").status)
    assert await subject.count(DONE) == 0
    with pytest.raises(errors.InvalidState, match="the counter is 0"):
        await subject.count(DONE)


async def test_one_refusal_spares_those_that_were_asked_with_it():
    """Each gets its own answer."""
    stored = StoredWaitGroup()
    subject = counter_of(stored)
    answers = await asyncio.gather(
        *(subject.count(one) for one in (ADD, Operation(delta=-7), ADD)), return_exceptions=True
    )
    assert [answer for answer in answers if isinstance(answer, int)] == [1, 2]
    assert isinstance(answers[1], errors.InvalidState)


@pytest.mark.parametrize("losses", [1, 3])
async def test_a_write_whose_answer_is_lost_counts_once(losses: int):
    """It was carried out, its connection was cut: the id in the status tells."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    stored.after = Failing(errors.Unavailable("no answer"), puts=losses)
    subject = counter_of(stored)
    assert await asyncio.gather(subject.count(DONE), subject.count(DONE)) == [2, 1]
    assert stored.group.counter == 1


async def test_a_conflict_with_a_write_of_our_own_is_none():
    """Something on the way has sent it twice: the second one finds what the first has written."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    stored.after = Failing(errors.Conflict("the object has been modified", status=409, reason="Conflict"), puts=1)
    assert await counter_of(stored).count(DONE) == 2
    assert stored.group.counter == 2


async def test_a_write_that_was_not_carried_out_is_repeated():
    """No answer, and no id in the status."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    stored.before = Failing(errors.Unavailable("no answer"), puts=2)
    assert await counter_of(stored).count(DONE) == 2


async def test_an_answer_that_is_lost_and_cannot_be_told_any_more_is_an_error_and_no_second_count():
    """More has been counted since than is remembered."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))

    def lose(request: Request) -> None:
        if request.method == "PUT":
            stored.after = lambda _: None
            status = stored.group.status
            for number in range(MAX_WRITERS):
                status = counting.count(status, [Operation(delta=1)], writer=f"theirs{number}").status
            stored.write(status)
            raise errors.Unavailable("no answer")

    stored.after = lose
    with pytest.raises(errors.Unavailable, match="cannot be told"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 2 + MAX_WRITERS


async def test_a_done_whose_answer_is_lost_is_not_counted_on_a_group_that_was_made_again():
    """The first one was Done and deleted: the other one's counter belongs to the next batch."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=1))

    def lose(request: Request) -> None:
        if request.method == "PUT":
            stored.group = msgspec.structs.replace(
                stored.group,
                metadata=msgspec.structs.replace(stored.group.metadata, uid="another", resource_version="90"),
                status=WaitGroupStatus(counter=5),
            )
            raise errors.Unavailable("no answer")

    stored.after = lose
    with pytest.raises(errors.Unavailable, match="cannot be told: its answer got lost, and it was deleted since"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 5


async def test_a_done_that_was_refused_goes_to_the_group_that_was_made_again():
    """What the process remembers of the first one is no reason not to count on this one."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=2))
    subject = counter_of(stored)
    await subject.count(DONE)
    stored.group = msgspec.structs.replace(
        stored.group,
        metadata=msgspec.structs.replace(stored.group.metadata, uid="another", resource_version="90"),
        status=WaitGroupStatus(counter=5),
    )
    assert await subject.count(DONE) == 4


async def test_a_lost_answer_is_not_repeated_where_somebody_has_dropped_what_was_remembered():
    """A program that does not know our fields wrote the status: what it has dropped may have been ours."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3, write_count=7))

    def lose(request: Request) -> None:
        if request.method == "PUT":
            stored.after = lambda _: None
            stored.write(WaitGroupStatus(counter=stored.group.counter))
            raise errors.Unavailable("no answer")

    stored.after = lose
    with pytest.raises(errors.Unavailable, match="cannot be told"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 2


async def test_a_lost_answer_is_not_repeated_where_all_others_write_without_numbers():
    """As programs of the original do: nothing has fallen, and still our count may be in theirs."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=10))

    def lose(request: Request) -> None:
        if request.method == "PUT":
            stored.after = lambda _: None
            stored.write(WaitGroupStatus(counter=(stored.group.counter or 0) + 1))
            raise errors.Unavailable("no answer")

    stored.after = lose
    with pytest.raises(errors.Unavailable, match="cannot be told"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 10


@pytest.mark.parametrize("status", [WaitGroupStatus(), written(5)], ids=["never written", "written"])
@pytest.mark.parametrize("is_carried_out", [False, True], ids=["not carried out", "carried out"])
async def test_a_lost_answer_can_be_told_after_a_change_of_labels(status: WaitGroupStatus, is_carried_out: bool):
    """The status tells as before, and a write that was built on the old version can only be refused."""
    stored = StoredWaitGroup(status)
    lost: list[Request] = []

    def lose(request: Request) -> None:
        if request.method == "PUT" and not lost:
            lost.append(request)
            stored.write(stored.group.status)  # as by kubectl label: another version of the object
            raise errors.Unavailable("no answer")

    if is_carried_out:
        stored.after = lose
    else:
        stored.before = lose
    before = status.counter or 0
    assert await counter_of(stored).count(ADD) == before + 1
    assert stored.group.counter == before + 1
    with pytest.raises(errors.Conflict):
        await stored.send(lost[0])


class FirstIsLate(StoredWaitGroup):
    """The first write is not answered, and carried out only as the second one comes, which is refused then."""

    def __init__(self, status: WaitGroupStatus, *, then: Callable[[], None]) -> None:
        super().__init__(status)
        self._then = then
        self._late: Request | None = None

    async def send(self, request: Request, **options: Any) -> bytes:
        """Carry out a request, or not yet."""
        if request.method != "PUT" or self.sent.count("PUT") > 1:
            return await super().send(request, **options)
        if self._late is None:
            self._late = request
            raise errors.Unavailable("no answer")
        await super().send(self._late)
        try:
            return await super().send(request, **options)
        finally:
            self._then()


async def test_a_write_that_comes_late_is_not_repeated_on_a_group_that_was_made_again():
    """The second try was refused for the first one: it is the first one whose answer got lost."""

    def make_again() -> None:
        metadata = msgspec.structs.replace(stored.group.metadata, uid="another", resource_version="99")
        stored.group = msgspec.structs.replace(stored.group, metadata=metadata, status=WaitGroupStatus(counter=5))

    stored = FirstIsLate(WaitGroupStatus(counter=3), then=make_again)
    with pytest.raises(errors.Unavailable, match="cannot be told"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 5


async def test_a_write_that_comes_late_is_not_repeated_after_more_writes_than_are_remembered():
    """It may be among those that are forgotten."""

    def write_many() -> None:
        status = stored.group.status
        for number in range(MAX_WRITERS):
            status = counting.count(status, [Operation(delta=1)], writer=f"theirs{number}").status
        stored.write(status)

    stored = FirstIsLate(WaitGroupStatus(counter=3), then=write_many)
    with pytest.raises(errors.Unavailable, match="cannot be told"):
        await counter_of(stored).count(DONE)
    assert stored.group.counter == 2 + MAX_WRITERS


@pytest.mark.parametrize(
    "refusal",
    [
        errors.Unavailable("too many requests", status=429, reason="TooManyRequests"),
        errors.Conflict("modified", status=409, reason="Conflict"),
    ],
    ids=["429", "409"],
)
@virtual_time
async def test_who_is_only_refused_after_a_lost_answer_says_that_it_may_have_counted(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch
):
    """The first write may still be on its way: nothing has been written since."""
    monkeypatch.undo()  # time passes by pauses alone
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    failures = iter([errors.Unavailable("no answer")])

    def fail(request: Request) -> None:
        if request.method == "PUT":
            raise next(failures, refusal)

    stored.before = fail
    with pytest.raises(errors.Unavailable, match="whether it was counted is not known"):
        await counter_of(stored, retry_for_s=1.0).count(DONE)


@virtual_time
async def test_pauses_after_conflicts_end_with_the_time_of_the_call(monkeypatch: pytest.MonkeyPatch):
    """Also where a write takes so long that the pauses are."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    real = stored.send

    async def slowly_refuse(request: Request, **options: Any) -> bytes:
        if request.method == "PUT":
            await asyncio.sleep(0.1)
            raise errors.Conflict("modified", status=409, reason="Conflict")
        return await real(request, **options)

    monkeypatch.undo()
    stored.send = slowly_refuse  # type: ignore[method-assign]
    with pytest.raises(errors.Conflict):
        await counter_of(stored, retry_for_s=4.0, random=lambda: 1.0).count(DONE)
    assert elapsed_s() < 4.2


async def test_who_gives_up_after_a_lost_answer_says_that_it_may_have_counted():
    """With an id of its caller it may be repeated."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=1))
    stored.after = Failing(errors.Unavailable("no answer"), puts=1)
    with pytest.raises(errors.Unavailable, match="whether it was counted is not known"):
        await counter_of(stored, retry_for_s=0.0).count(Operation(delta=-1, id="mine"))
    assert await counter_of(stored).count(Operation(delta=-1, id="mine")) == 0


async def test_who_cannot_read_any_more_after_a_lost_answer_says_that_it_may_have_counted():
    """The server went away after the write, and did not come back in time."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=1))
    stored.after = Failing(errors.Unavailable("no answer"), puts=1)

    def fail(request: Request) -> None:
        if request.method == "GET" and "PUT" in stored.sent:
            raise errors.Unavailable("refused")

    stored.before = fail
    with pytest.raises(errors.Unavailable, match="refused; whether it was counted is not known"):
        await counter_of(stored).count(DONE)


REFUSALS = [
    errors.Unauthorized("token has expired", status=401, reason="Unauthorized"),
    errors.Forbidden("right withdrawn", status=403, reason="Forbidden"),
    errors.NotFound("deleted", status=404, reason="NotFound"),
    errors.Invalid("a webhook says no", status=422, reason="Invalid"),
    errors.ApiError("it is no WaitGroup"),
]
all_refusals = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: type(one).__name__)


@all_refusals
async def test_who_is_refused_the_look_after_a_lost_answer_hears_of_both(refusal: errors.ApiError):
    """A token that has expired, say: whoever only hears of that does it again, and it counts twice."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    stored.after = Failing(errors.Unavailable("no answer"), puts=1)

    def refuse(request: Request) -> None:
        if request.method == "GET" and "PUT" in stored.sent:
            raise refusal

    stored.before = refuse
    with pytest.raises(type(refusal), match=f"^{refusal}; whether it was counted is not known") as told:
        await counter_of(stored).count(DONE)
    assert (type(told.value), told.value.status, told.value.reason) == (type(refusal), refusal.status, refusal.reason)
    assert stored.group.counter == 2


async def test_who_has_an_id_is_told_to_repeat_with_it_unless_the_group_is_gone():
    """Another one of the name would not know the id: the operation would count there, too."""
    told = {}
    for refusal in (errors.Forbidden("no", status=403), errors.NotFound("gone", status=404)):
        stored = StoredWaitGroup(WaitGroupStatus(counter=3))
        stored.after = Failing(errors.Unavailable("no answer"), puts=1)

        def refuse(request: Request, refusal: errors.ApiError = refusal, sent: list[str] = stored.sent) -> None:
            if request.method == "GET" and "PUT" in sent:
                raise refusal

        stored.before = refuse
        with pytest.raises(type(refusal)) as caught:
            await counter_of(stored).count(Operation(delta=-1, id="mine"))
        told[type(refusal)] = str(caught.value)
    assert "can be repeated" in told[errors.Forbidden]
    assert told[errors.NotFound] == "gone; whether it was counted is not known"


@all_refusals
async def test_who_is_refused_the_next_try_after_a_lost_answer_hears_of_both(refusal: errors.ApiError):
    """The first write may still come, or has come between the look and the refusal."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    failures = iter([errors.Unavailable("no answer"), refusal])

    def fail(request: Request) -> None:
        if request.method == "PUT":
            raise next(failures)

    stored.before = fail
    with pytest.raises(type(refusal), match=f"^{refusal}; whether it was counted is not known") as told:
        await counter_of(stored).count(DONE)
    assert (type(told.value), told.value.status, told.value.reason) == (type(refusal), refusal.status, refusal.reason)


@all_refusals
async def test_who_is_refused_after_somebody_else_has_written_has_surely_not_counted(refusal: errors.ApiError):
    """The write whose answer got lost is not there, and can only be refused: the server's own words are enough."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))
    failures = iter([errors.Unavailable("no answer"), refusal])

    def fail(request: Request) -> None:
        if request.method == "PUT":
            stored.write(counting.count(stored.group.status, [ADD], writer="theirs").status)
            raise next(failures)

    stored.before = fail
    with pytest.raises(type(refusal), match=f"^{refusal}$"):
        await counter_of(stored).count(DONE)


@all_refusals
async def test_who_is_refused_the_look_after_a_conflict_hears_of_that_alone(refusal: errors.ApiError):
    """The write was answered, by a refusal."""
    stored = StoredWaitGroup(WaitGroupStatus(counter=3))

    def fail(request: Request) -> None:
        if request.method == "PUT":
            raise errors.Conflict("modified", status=409, reason="Conflict")
        if "PUT" in stored.sent:
            raise refusal

    stored.before = fail
    with pytest.raises(type(refusal), match=f"^{refusal}$"):
        await counter_of(stored).count(DONE)


@virtual_time
async def test_who_cannot_read_before_the_first_write_has_surely_not_counted():
    """That is told, with what it was about and for how long: nothing was sent, and it can be repeated."""
    stored = StoredWaitGroup()

    def silent(_: Request) -> None:
        raise errors.Unavailable("GET /apis/x: no answer from the API server: it took too long")

    stored.before = silent
    with pytest.raises(errors.Unavailable) as caught:
        await counter_of(stored).count(ADD)
    assert str(caught.value) == (
        "WaitGroup default/jobs: the API server has not answered within 0s, and nothing was counted: "
        "GET /apis/x: no answer from the API server: it took too long"
    )
    assert "PUT" not in stored.sent


async def test_a_wait_group_of_another_version_is_an_error_that_names_it():
    """And none of the parser's."""

    class Foreign(StoredWaitGroup):
        async def send(self, request: Request, **options: Any) -> bytes:
            """Answer with a counter that is none."""
            body = json.loads(await super().send(request, **options))
            return json.dumps({**body, "status": {"counter": "many"}}).encode()

    with pytest.raises(errors.ApiError, match="default/jobs is no WaitGroup as this version"):
        await counter_of(Foreign()).count(ADD)


async def test_a_failure_reaches_all_who_asked_and_does_not_last():
    """The next operation is tried anew."""
    stored = StoredWaitGroup()
    stored.before = Failing(errors.Forbidden("no", status=403), puts=2)
    subject = counter_of(stored)
    answers = await asyncio.gather(*(subject.count(ADD) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(answer, errors.Forbidden) for answer in answers)
    assert await subject.count(ADD) == 1


class Late(StoredWaitGroup):
    """Carries the first PUT out just before the second one; its sender has heard nothing, and has given up."""

    def __init__(self, status: WaitGroupStatus) -> None:
        super().__init__(status)
        self._late: Request | None = None
        self._puts = 0

    async def send(self, request: Request, **options: Any) -> bytes:
        """Hold the first PUT back."""
        if request.method == "PUT":
            self._puts += 1
            if self._puts == 1:
                self._late = request
                raise errors.Unavailable("no answer")
            if self._puts == 2 and self._late is not None:
                await super().send(self._late)
        return await super().send(request, **options)


async def test_a_write_that_was_given_up_and_comes_late_is_not_taken_for_the_next_one():
    """Both are built on the same state, so they would have had the same number; both count."""
    stored = Late(WaitGroupStatus(counter=5))
    subject = counter_of(stored, retry_for_s=0.0)
    with pytest.raises(errors.Unavailable, match="whether it was counted is not known"):
        await subject.count(DONE)
    subject._retry_for_s = 30.0
    assert await subject.count(DONE) == 3
    assert stored.group.counter == 3


class Gated(StoredWaitGroup):
    """Holds the first write until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def send(self, request: Request, **options: Any) -> bytes:
        """Hold a PUT."""
        if request.method == "PUT":
            self.is_held.set()
            await self.may_go_on.wait()
        return await super().send(request, **options)


async def test_who_is_cancelled_before_its_write_is_not_counted():
    """And disturbs nobody else."""
    stored = Gated()
    subject = counter_of(stored)
    first = asyncio.create_task(subject.count(ADD))
    await stored.is_held.wait()
    second, third = (asyncio.create_task(subject.count(ADD)) for _ in range(2))
    await asyncio.sleep(0)  # both have asked
    second.cancel()
    await asyncio.wait([second])
    stored.may_go_on.set()
    assert [await first, await third] == [1, 2]
    assert second.cancelled()


async def test_who_is_cancelled_as_it_writes_keeps_nobody_else_from_it():
    """What was asked for meanwhile is written next, as another writer's: the first write may still come."""
    stored = Gated()
    subject = counter_of(stored)
    first = asyncio.create_task(subject.count(ADD))
    await stored.is_held.wait()
    others = [asyncio.create_task(subject.count(ADD)) for _ in range(2)]
    await asyncio.sleep(0)  # both have asked
    first.cancel()
    stored.may_go_on.set()
    await asyncio.wait([first])
    assert [await one for one in others] == [1, 2]
    assert await subject.count(ADD) == 3
    assert first.cancelled()


def writing() -> asyncio.Task[None] | None:
    """Return the task that writes what was asked for meanwhile."""
    tasks = (one for one in asyncio.all_tasks() if one.get_name().startswith("kontinue counts"))
    return next(tasks, None)


@pytest.mark.parametrize("has_begun", [True, False], ids=["under way", "before its first step"])
async def test_a_program_that_cancels_all_its_tasks_keeps_nobody_from_counting(has_begun: bool):
    """Not all who count are cancelled: who is not hears that it is not known, or is counted."""
    stored = Gated()
    subject = counter_of(stored)
    first, second = (asyncio.create_task(subject.count(ADD)) for _ in range(2))
    await stored.is_held.wait()
    stored.is_held.clear()
    stored.may_go_on.set()
    while (cancelled := writing()) is None:
        await asyncio.sleep(0)
    stored.may_go_on.clear()
    if has_begun:
        await stored.is_held.wait()
    third = asyncio.create_task(subject.count(ADD))
    cancelled.cancel()
    stored.may_go_on.set()
    assert await first == 1
    if has_begun:
        with pytest.raises(errors.Unavailable, match="was cut off by this program; whether it was counted is not"):
            await second
        assert await third == stored.group.counter
    else:
        assert {await second, await third} == {2, 3}
    assert await subject.count(ADD) == stored.group.counter
    assert cancelled.cancelled()


@given(st.data())
def test_processes_that_lose_answers_and_conflict_count_each_operation_once(data: st.DataObject):
    """Whatever gets lost on the way there or back: in the end exactly what was asked for is counted."""
    stored = StoredWaitGroup()
    kinds = ["", "", "lost", "lost, labelled", "sent twice", "not sent", "not sent, labelled"]
    fates = data.draw(st.lists(st.sampled_from(kinds), max_size=12))

    def fate(at: str) -> None:
        if fates and fates[0] == at:
            fates.pop(0)
            if at.endswith("labelled"):
                stored.write(stored.group.status)
            if at == "sent twice":
                raise errors.Conflict("the object has been modified", status=409, reason="Conflict")
            raise errors.Unavailable("no answer")

    def before(request: Request) -> None:
        if request.method == "PUT":
            fate("not sent")
            fate("not sent, labelled")

    def after(request: Request) -> None:
        if request.method == "PUT":
            fate("lost")
            fate("lost, labelled")
            fate("sent twice")
            if fates:
                fates.pop(0)

    stored.before, stored.after = before, after
    asked = data.draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3))

    async def main() -> None:
        counters = [counter_of(stored) for _ in asked]
        await asyncio.gather(
            *(counters[number].count(Operation(delta=delta)) for number, deltas in enumerate(asked) for delta in deltas)
        )

    asyncio.run(main())
    assert stored.group.counter == sum(map(sum, asked))
    assert stored.group.status.added == stored.group.counter
