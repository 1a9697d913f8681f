"""What runs together ends together."""

import asyncio

import pytest

from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec
from kontinue.client.together import all_of
from kontinue.client.tree_reading import fetch_below

TOP = Execution(metadata=ObjectMeta(name="x", namespace="ns", uid="u"), spec=ExecutionSpec(function="f"))


class Lasting:
    """Coroutines that would last for ever, and how many of them have ended."""

    def __init__(self):
        self.begun = 0
        self.ended = 0

    async def run(self):
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


async def late(turns, value):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fail(error):
    await asyncio.sleep(0)
    raise error


async def test_results_are_in_the_order_of_the_coroutines():
    """Whichever ends first."""
    assert await all_of(late(3 - n, n) for n in range(3)) == [0, 1, 2]
    assert await all_of([]) == []


async def test_the_first_failure_ends_the_others():
    """And is raised as it is, when nothing of them runs any more."""
    lasting = Lasting()
    refused = errors.Forbidden("no", status=403)
    refused.__cause__ = OSError("why")
    with pytest.raises(errors.Forbidden) as caught:
        await all_of([lasting.run(), fail(refused), lasting.run()])
    assert caught.value is refused
    assert (str(refused.__cause__), refused.__context__) == ("why", None)
    assert (lasting.begun, lasting.ended) == (2, 2)


async def test_whoever_is_canceled_leaves_nothing_behind():
    """A limit of time around them ends all."""
    lasting = Lasting()
    waiting = asyncio.ensure_future(all_of([lasting.run(), lasting.run()]))
    await late(3, None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (lasting.begun, lasting.ended) == (2, 2)


async def test_a_tree_that_cannot_be_read_leaves_no_request_under_way():
    """Its kinds are asked for at once."""
    lasting = Lasting()

    async def send(request):
        if request.path.endswith("/executions"):
            await fail(errors.Unavailable("away"))
        await lasting.run()

    with pytest.raises(errors.Unavailable, match="away"):
        await fetch_below(send, TOP)
    assert lasting.begun == lasting.ended == 2
