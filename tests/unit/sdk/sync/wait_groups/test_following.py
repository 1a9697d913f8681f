"""When a wait for a WaitGroup has ended."""

from __future__ import annotations

import asyncio
import json

import msgspec

from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue.kube.requests import Request
from kontinue.sync.wait_groups.following import Following, is_over
from scripted_transport import ScriptedTransport


def group(**status: int) -> WaitGroup:
    return WaitGroup(metadata=ObjectMeta(name="jobs"), status=WaitGroupStatus(**status))


def test_a_wait_ends_at_0():
    """Of a fresh group at once."""
    assert is_over(group(), start=group(), for_first_add=False)
    assert is_over(group(counter=0, added=2, rounds=1), start=group(counter=2, added=2), for_first_add=False)
    assert not is_over(group(counter=1, added=2), start=group(counter=2, added=2), for_first_add=False)


def test_waiting_for_the_first_add_takes_one_that_was_used_before():
    """Only one that nothing was ever added to is not done yet."""
    assert not is_over(group(counter=0), start=group(), for_first_add=True)
    assert is_over(group(counter=0, added=1, rounds=1), start=group(), for_first_add=True)


def test_an_end_that_was_over_again_before_it_was_seen_ends_a_wait():
    """A watch that was cut shows only what stands there then."""
    assert is_over(group(counter=3, added=5, rounds=1), start=group(counter=2, added=2), for_first_add=False)
    assert not is_over(group(counter=3, added=5, rounds=1), start=group(counter=1, rounds=1), for_first_add=False)


async def test_waits_that_begin_together_need_one_list():
    """And one watch; none of them reads for itself."""
    done = WaitGroup(metadata=ObjectMeta(name="jobs", resource_version="5"))
    waiting = msgspec.structs.replace(done, status=WaitGroupStatus(counter=1))
    transport = ScriptedTransport()
    event = {"type": "MODIFIED", "object": {**msgspec.to_builtins(done), "metadata": {"resourceVersion": "6"}}}
    transport.watches.append([json.dumps(event).encode(), None])

    def answer(request: Request) -> bytes:
        body = msgspec.json.encode(waiting)
        return b'{"metadata":{"resourceVersion":"5"},"items":[%b]}' % body if request.query else body

    transport.answer = answer
    following = Following(transport, "default", "jobs", retry_for_s=1.0)
    ended = await asyncio.gather(*(following.until_done(for_first_add=False) for _ in range(100)))
    assert {one.counter for one in ended} == {0}
    assert len(transport.sent) == len(transport.watched) == 1


async def test_waits_go_on_when_a_program_has_cancelled_all_its_tasks():
    """Who waits was perhaps not cancelled."""
    waiting = WaitGroup(metadata=ObjectMeta(name="jobs", resource_version="5"), status=WaitGroupStatus(counter=1))
    transport = ScriptedTransport()
    transport.answer = lambda _: b'{"metadata":{"resourceVersion":"5"},"items":[%b]}' % msgspec.json.encode(waiting)
    following = Following(transport, "default", "jobs", retry_for_s=1.0)
    wait = asyncio.create_task(following.until_done(for_first_add=False))
    while not transport.watched:
        await asyncio.sleep(0)
    watching = next(one for one in asyncio.all_tasks() if one.get_name().startswith("kontinue waits"))
    watching.cancel()
    waiting = WaitGroup(metadata=ObjectMeta(name="jobs", resource_version="6"), status=WaitGroupStatus(counter=0))
    assert (await wait).counter == 0
    assert watching.cancelled()
