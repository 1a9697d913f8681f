"""No key is processed twice at once, no change is missed, delays end once."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.kube.work_queue import SPARE, WorkQueue
from virtual_time import elapsed_s, virtual_time


@virtual_time
async def test_a_key_waits_once_however_often_it_is_added():
    """First in, first out."""
    queue = WorkQueue()
    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


@virtual_time
async def test_a_key_added_while_processed_waits_until_done():
    """The change that came meanwhile is not lost, and not processed beside."""
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert len(queue) == 1
    queue.done(await queue.get())
    assert len(queue) == 0


@virtual_time
async def test_of_several_delays_the_first_end_counts():
    """A later one neither replaces nor repeats it."""
    queue = WorkQueue()
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 5)
    assert await queue.get() == "a"
    assert elapsed_s() == 2
    queue.done("a")
    await asyncio.sleep(100)
    assert (len(queue), queue.delayed) == (0, 0)


@virtual_time
async def test_no_delay_is_an_add():
    """Zero and less mean now."""
    queue = WorkQueue()
    queue.add_after("a", 0)
    queue.add_after("b", -1)
    assert (len(queue), queue.delayed) == (2, 0)


@virtual_time
async def test_forget_drops_the_delay_and_nothing_else():
    """An object that is gone leaves no timer behind."""
    queue = WorkQueue()
    queue.add("a")
    queue.add_after("a", 5)
    queue.forget("a")
    queue.forget("never seen")
    assert (len(queue), queue.delayed) == (1, 0)


@virtual_time
async def test_what_is_forgotten_or_put_forward_again_and_again_takes_no_room():
    """Most of what has a delay is dropped long before its time."""
    queue = WorkQueue()
    queue.add_after("waits", 5000)
    for number in range(1000):
        queue.add_after("a", 4000 - number)
        queue.add_after(number, 3000)
        queue.forget(number)
    assert len(queue._in_order) <= 2 * queue.delayed + SPARE
    assert await queue.get() == "a"
    assert elapsed_s() == 3001
    assert await queue.get() == "waits"
    assert elapsed_s() == 5000
    assert queue.delayed == 0


@virtual_time
async def test_delays_end_in_the_order_of_their_times():
    """Those that end together in that in which they were asked for."""
    queue = WorkQueue()
    for key, delay_s in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("b0", 2)):
        queue.add_after(key, delay_s)
    queue.forget("b0")
    queue.add_after("b0", 2)
    assert [await queue.get() for _ in range(5)] == ["a", "b1", "b2", "b0", "c"]
    assert elapsed_s() == 3


@virtual_time
async def test_a_canceled_get_loses_no_key():
    """Workers may be stopped at any time."""
    queue = WorkQueue()
    getter = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    getter.cancel()
    queue.add("a")
    assert await queue.get() == "a"


@given(st.lists(st.tuples(st.sampled_from(["add", "after", "get", "done"]), st.sampled_from("abc"))))
def test_every_add_is_followed_by_a_processing(operations):
    """Whatever the order: after the last add of a key it is got once more, and never twice at the same time."""

    @virtual_time
    async def run():
        queue = WorkQueue()
        processing = set()
        pending = set()
        for operation, key in operations:
            if operation == "add":
                queue.add(key)
                pending.add(key)
            elif operation == "after":
                queue.add_after(key, 1)
                pending.add(key)
            elif operation == "get" and len(queue):
                got = await queue.get()
                assert got not in processing
                processing.add(got)
                pending.discard(got)
            elif operation == "done" and key in processing:
                processing.discard(key)
                queue.done(key)
        for key in processing:
            queue.done(key)
        await asyncio.sleep(2)
        while len(queue):
            got = await queue.get()
            pending.discard(got)
            queue.done(got)
        assert not pending

    run()
