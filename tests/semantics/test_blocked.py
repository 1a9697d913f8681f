"""What blocks an Execution, how both sides are shown, and what can be done about it meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kontinue import App, ExecutionContext, FunctionDefinition, SyncExecutionContext, step
from kontinue.api.v1alpha1 import ChildPolicy, Execution, Phase
from kontinue.errors import ChildFailed, ExecutionBlocked, ExecutionCanceled, InvalidState
from kontinue.kube import requests
from kontinue_engine.cli.description import describe_execution
from kontinue_engine.testing import TestEnvironment, TestExecution
from kontinue_engine.testing.supervisor import NAMESPACE

WEEK = timedelta(days=7)
LINE = r"semantics/test_blocked\.py:\d+"
ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@step
async def charge(cents: int) -> str:
    ran.append(f"charge {cents}")
    return f"receipt {cents}"


@step
async def refund(cents: int) -> str:
    ran.append(f"refund {cents}")
    return f"refund {cents}"


@step(name="charge")
async def charge_in_numbers(cents: int) -> int:
    ran.append(f"charge {cents} in numbers")
    return cents


async def pack(order: str) -> str:
    ran.append(f"pack {order}")
    return f"packed {order}"


async def unpack(order: str) -> str:
    ran.append(f"unpack {order}")
    return order


def deployed(body: Callable[..., Any]) -> tuple[App, FunctionDefinition[[], str]]:
    app = App(group="g")
    app.function(name="pack")(pack)
    app.function(name="unpack")(unpack)
    return app, app.function(name="flow")(body)


async def recorded(ctx: ExecutionContext) -> str:
    """A step, a child, a step, and it sleeps."""
    receipt = await ctx.step(charge, 5)
    parcel = await ctx.execute(PACK, "hat")
    postage = await ctx.step(charge, 1)  # its record brings that of the child along
    await ctx.sleep(WEEK)
    return f"{receipt}, {parcel}, {postage}"


PACK = App(group="g").function(name="pack")(pack)
UNPACK = App(group="g").function(name="unpack")(unpack)


async def other_kind(ctx: ExecutionContext) -> str:
    await ctx.execute(PACK, "hat")
    return ""


async def other_name(ctx: ExecutionContext) -> str:
    return await ctx.step(refund, 5)


async def other_arguments(ctx: ExecutionContext) -> str:
    return await ctx.step(charge, 6)


async def other_type(ctx: ExecutionContext) -> str:
    return str(await ctx.step(charge_in_numbers, 5))


async def other_child(ctx: ExecutionContext) -> str:
    return await ctx.step(charge, 5) + await ctx.execute(UNPACK, "hat")


async def no_child(ctx: ExecutionContext) -> str:
    receipt = await ctx.step(charge, 5)
    await ctx.sleep(WEEK)
    return receipt


async def ends_early(ctx: ExecutionContext) -> str:
    return await ctx.step(charge, 5)


async def raises_early(ctx: ExecutionContext) -> str:
    raise ValueError("not yet")


async def no_context() -> str:
    ran.append("everything again")
    return ""


def in_another_colour(ctx: SyncExecutionContext) -> str:
    return str(ctx.execute(UNPACK, "hat"))


async def blocked_by(env: TestEnvironment, body: Callable[..., Any]) -> TestExecution[str]:
    """Deploy other code while an Execution sleeps."""
    before, flow = deployed(recorded)
    env.use(before)
    run = await env.spawn(flow)
    await env.advance(timedelta(days=1))
    ran.clear()
    await env.restart_worker(deployed(body)[0])
    with pytest.raises(ExecutionBlocked):
        await run.result()
    return run


CASES = [
    (other_kind, "1", f"step charge {{}} at {LINE}", f"child pack {{}} at {LINE}"),
    (other_name, "1", f"step charge {{}} at {LINE}", f"step refund {{}} at {LINE}"),
    (other_arguments, "1", f"step charge {{}} at {LINE}", f"step charge {{}} at {LINE}"),
    (other_type, "1", f"step charge {{}} at {LINE}", f"step charge {{}} at {LINE}: stored result does not decode .*"),
    (other_child, "2", f"child pack {{}} at {LINE}", f"child unpack {{}} at {LINE}"),
    (no_child, "2", f"child pack {{}} at {LINE}", f"timer at {LINE}"),
    (ends_early, "2", f"child pack {{}} at {LINE}", r"the function ended .*: flow at \S+:\d+ returned"),
    (raises_early, "1", f"step charge {{}} at {LINE}", r"the function ended .* raised builtins.ValueError: not yet"),
    (no_context, "1", f"step charge {{}} at {LINE}", r"flow at \S+:\d+ takes no context: it asks for nothing"),
    (in_another_colour, "1", f"step charge {{}} at {LINE}", f"child unpack {{}} at {LINE}"),
]


@pytest.mark.parametrize(("body", "where", "recorded_side", "requested_side"), CASES)
async def test_both_sides_are_shown_with_lines_and_builds(
    env: TestEnvironment, body: Callable[..., Any], where: str, recorded_side: str, requested_side: str
) -> None:
    """In the status, which kubectl describe shows, and one below the other by kontinue describe. Nothing has run."""
    run = await blocked_by(env, body)
    blocked = await run.get()
    assert (blocked.phase, blocked.status.reason) == (Phase.BLOCKED, "CodeChanged")
    sides = [side.format(r"\(arguments digest [0-9a-f]+\)") for side in (recorded_side, requested_side)]
    expected = (
        rf"the code does not match the records at step {where}: recorded {sides[0]}, recorded by build test-1; "
        rf"requested {sides[1]}, requested by the code now by build test-2\. Deploy a build that matches, or cancel it"
    )
    assert re.fullmatch(expected, blocked.status.message), blocked.status.message
    text = describe_execution(blocked, [], datetime.now(UTC), whole=True)
    assert re.search(
        rf"  recorded:  {sides[0]}, by build test-1\n    requested: {sides[1]}, by build test-2\n", text
    ), text
    assert ran == []


async def test_it_is_tried_once_for_each_build_and_goes_on_with_one_that_matches(env: TestEnvironment) -> None:
    """Trying it costs nothing but a look; what has matched before is done once."""
    run = await blocked_by(env, other_name)
    await env.restart_worker(deployed(other_kind)[0])
    with pytest.raises(ExecutionBlocked, match=r"recorded by build test-1; requested child pack .* by build test-3"):
        await run.result()
    version = (await run.get()).metadata.resource_version
    await env.advance(timedelta(days=1))
    assert (await run.get()).metadata.resource_version == version, "no build, no try"
    await env.restart_worker(deployed(recorded)[0])
    assert await run.result() == "receipt 5, packed hat, receipt 1"
    assert ran == []


async def test_it_can_be_canceled(env: TestEnvironment) -> None:
    """At once: nothing of it runs."""
    run = await blocked_by(env, other_name)
    await run.cancel()
    with pytest.raises(ExecutionCanceled):
        await run.result()
    assert ran == []


async def test_it_can_be_skipped(env: TestEnvironment) -> None:
    """Whoever waits for it gets the result."""
    run = await blocked_by(env, other_name)
    await run.skip("by hand")
    assert await run.result() == "by hand"
    assert ran == []


async def test_it_can_be_run_anew_by_the_code_that_is_there(env: TestEnvironment) -> None:
    """Its records do not count any more; a retry that kept them would be blocked again."""
    run = await blocked_by(env, other_name)
    with pytest.raises(InvalidState, match="RetryAll"):
        await run.retry()
    await run.retry(child_policy=ChildPolicy.RETRY_ALL)
    assert await run.result() == "refund 5"
    assert ran == ["refund 5"]


async def test_one_that_failed_and_is_retried_by_other_code_is_blocked_too(env: TestEnvironment) -> None:
    """It fails no second time, and nothing is done twice."""

    async def fails(ctx: ExecutionContext) -> str:
        await ctx.step(charge, 5)
        raise RuntimeError("no luck")

    before, flow = deployed(fails)
    env.use(before)
    run = await env.spawn(flow)
    with pytest.raises(Exception, match="no luck"):
        await run.result()
    await env.restart_worker(deployed(other_name)[0])
    await run.retry()
    with pytest.raises(ExecutionBlocked):
        await run.result()
    assert ran == ["charge 5"]


async def test_a_child_that_is_blocked_keeps_its_parent_waiting_until_it_is_canceled(env: TestEnvironment) -> None:
    """Then the parent goes on, as after any canceled child."""

    def deploy(body: Callable[..., Coroutine[Any, Any, str]]) -> tuple[App, FunctionDefinition[[], str]]:
        app, flow = deployed(body)

        async def parent(ctx: ExecutionContext) -> str:
            try:
                return await ctx.execute(flow)
            except ChildFailed as error:
                return error.phase

        return app, app.function(parent)

    before, parent = deploy(recorded)
    env.use(before)
    run = await env.spawn(parent)
    await env.advance(timedelta(days=1))
    await env.restart_worker(deploy(other_name)[0])
    await env.advance(2 * WEEK)
    assert (await run.get()).phase is Phase.SUSPENDED
    blocked: list[Execution] = [one for one in await env.client.list() if one.phase is Phase.BLOCKED]
    assert [one.spec.function for one in blocked] == ["flow"]
    await env.client.cancel(blocked[0])
    assert await run.result() == "Canceled"


async def child_of(env: TestEnvironment, run: TestExecution[str]) -> Execution:
    (child,) = await env.client.get_child_executions(run.name)
    return child


async def test_a_child_that_was_deleted_after_its_outcome_was_recorded_is_not_missed(env: TestEnvironment) -> None:
    """What is recorded is history."""
    before, flow = deployed(recorded)
    env.use(before)
    run = await env.spawn(flow)
    await env.advance(timedelta(days=1))
    ran.clear()
    child = await child_of(env, run)
    await env._world.bridge.send(requests.delete(requests.EXECUTIONS, NAMESPACE, child.metadata.name))
    await env.restart_worker(before)
    assert await run.result() == "receipt 5, packed hat, receipt 1"
    assert ran == []
