"""Lines of Pods: what one of them cannot tell costs nothing of the others, and what is followed is told to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fake_pods import DONE, KILLED, RUNNING, WAITING, FakePods
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt, ExecutionSpec, ExecutionStatus, Phase
from kontinue.client import pod_log
from kontinue.client.tree import ExecutionTree
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli import pod_lines
from kontinue_engine.cli.pod_lines import PodLines


def stamp(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000001Z"


def said(second: int, text: str) -> tuple[str, str]:
    """Return a line of a worker."""
    return stamp(second), json.dumps({"event": "output", "text": text}) + "\n"


def tree_of(*workers: str) -> ExecutionTree:
    attempts = [ExecutionAttempt(number=number, worker=worker) for number, worker in enumerate(workers, 1)]
    status = ExecutionStatus(phase=Phase.EXECUTING, attempts=attempts)
    meta = ObjectMeta(name="root", namespace="ns", uid="uid-root")
    return build_tree(Execution(metadata=meta, spec=ExecutionSpec(function="f"), status=status), [])


class Reading:
    """Reads the lines of Pods.

    Attributes:
        pods: there are.
        told: texts, in the order in which they came.
        said: why something is missing.
    """

    def __init__(self) -> None:
        self.pods = FakePods()
        self.told: list[str] = []
        self.said: list[str] = []
        connection: Any = SimpleNamespace(transport=self.pods, namespace="ns")
        self.lines = PodLines(connection, self.said.append)

    def emit(self, fields: Mapping[str, Any]) -> None:
        self.told.append(fields["text"])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)

    async def has(self, *texts: str) -> None:
        await self.until(lambda: self.told == list(texts))


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(pod_log, "POLL_S", 0.0)
    monkeypatch.setattr(pod_lines, "POLL_S", 0.0)
    return Reading()


async def test_a_worker_that_has_not_started_hides_nothing_of_the_others(reading: Reading) -> None:
    """Which one is missing is said."""
    for name, state in (("w-0", RUNNING), ("w-1", WAITING), ("w-2", RUNNING)):
        reading.pods.put(name, state=state)
        reading.pods.print(name, said(1, f"of {name}"))
    found = [fields["text"] async for fields in reading.lines.of_workers(tree_of("w-0", "w-1", "w-2"))]
    assert found == ["of w-0", "of w-2"]
    assert reading.said == ["worker w-1: container main is waiting to start"]


async def test_a_worker_that_starts_again_is_followed_on(reading: Reading) -> None:
    """In the same Pod, or in another one of its name."""
    reading.pods.put("w-0", uid="first", restart_policy="Always")
    over = asyncio.Event()
    following = asyncio.create_task(reading.lines.follow_worker("w-0", "", reading.emit, over))
    reading.pods.print("w-0", said(1, "one"))
    await reading.has("one")
    reading.pods.put("w-0", uid="first", restart_policy="Always", state=KILLED)
    reading.pods.end_answer("w-0")
    await reading.until(lambda: reading.pods.opened > 1)
    reading.pods.put("w-0", uid="first", restart_policy="Always")
    reading.pods.print("w-0", said(2, "after a restart"))
    await reading.has("one", "after a restart")
    reading.pods.remove("w-0")
    reading.pods.put("w-0", uid="second", restart_policy="Always")
    reading.pods.print("w-0", said(1, "of another Pod, with a slower clock"))
    reading.pods.end_answer("w-0")
    await reading.has("one", "after a restart", "of another Pod, with a slower clock")
    over.set()
    async with asyncio.timeout(60):
        await following
    assert reading.said == []


@pytest.mark.parametrize("begun", [False, True])
async def test_all_that_was_printed_is_told_when_it_is_over(reading: Reading, begun: bool) -> None:
    """However much it is, and once; also if nothing was read until then."""
    reading.pods.put("w-0")
    over = asyncio.Event()
    following = asyncio.create_task(reading.lines.follow_worker("w-0", "", reading.emit, over))
    if begun:
        reading.pods.print("w-0", said(1, "0"))
        await reading.has("0")
    reading.pods.print("w-0", *(said(2, str(number)) for number in range(int(begun), 500)))
    over.set()
    async with asyncio.timeout(60):
        await following
    assert reading.told == [str(number) for number in range(500)]
    assert reading.said == []


async def test_a_worker_without_a_pod_is_told_of_once(reading: Reading) -> None:
    """Its Pod may come yet."""
    over = asyncio.Event()
    following = asyncio.create_task(reading.lines.follow_worker("w-0", "", reading.emit, over))
    await reading.until(lambda: bool(reading.said))
    reading.pods.put("w-0")
    reading.pods.print("w-0", said(1, "here"))
    await reading.has("here")
    over.set()
    async with asyncio.timeout(60):
        await following
    assert reading.said == ["worker w-0 is no Pod: its lines are where its output goes"]


def put_run_pod(pods: FakePods, name: str, *, owner: str, **more: Any) -> None:
    """Create a Pod as ``ctx.run_pod`` does."""
    owners = [{"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "root", "uid": owner, "controller": True}]
    pods.put(name, labels={labels.ROOT: "root"}, ownerReferences=owners, **more)


async def test_pods_that_functions_run_are_read(reading: Reading) -> None:
    """Those of other Executions are not, and one that has not started hides nothing."""
    put_run_pod(reading.pods, "mine", owner="uid-root", state=DONE, phase="Succeeded")
    put_run_pod(reading.pods, "waiting", owner="uid-root", state=WAITING, phase="Pending")
    put_run_pod(reading.pods, "older", owner="uid of a deleted one")
    for name in ("mine", "waiting", "older"):
        reading.pods.print(name, (stamp(1), f"of {name}\n"))
    found = await reading.lines.of_jobs(tree_of())
    assert [(fields["execution"], fields["text"]) for fields in found] == [("mine", "of mine")]
    assert reading.said == []


async def test_pods_that_functions_run_are_followed(reading: Reading) -> None:
    """From when they are there until they have ended, and one that begins last, too."""
    ended = asyncio.Event()
    tree = tree_of()
    following = asyncio.create_task(reading.lines.follow_run_pods(lambda: tree, ended, reading.emit))
    put_run_pod(reading.pods, "one", owner="uid-root")
    reading.pods.print("one", (stamp(1), "one\n"))
    await reading.has("one")
    put_run_pod(reading.pods, "last", owner="uid-root", state=DONE, phase="Succeeded")
    reading.pods.print("last", (stamp(2), "last\n"))
    ended.set()
    await reading.has("one", "last")
    assert not following.done()
    put_run_pod(reading.pods, "one", owner="uid-root", state=DONE, phase="Succeeded")
    reading.pods.end_answer("one")
    async with asyncio.timeout(60):
        await following
    assert reading.said == []


async def test_followed_lines_have_the_times_of_their_printing(reading: Reading) -> None:
    """Not those of their reading."""
    found: list[Mapping[str, Any]] = []
    put_run_pod(reading.pods, "p", owner="uid-root", state=DONE, phase="Succeeded")
    reading.pods.print("p", (stamp(1), "one\n"), (stamp(2), "two\n"))
    ended, tree = asyncio.Event(), tree_of()
    ended.set()
    await reading.lines.follow_run_pods(lambda: tree, ended, found.append)
    assert [(fields["time"], fields["text"]) for fields in found] == [(stamp(1), "one"), (stamp(2), "two")]
