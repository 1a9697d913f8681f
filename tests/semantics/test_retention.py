"""Archives in virtual time: what the document promises, as its example is written."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue import App, Retention
from kontinue.errors import NotFound
from kontinue.kube import requests
from kontinue_engine.testing import TestEnvironment

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "retention.md"
EXAMPLE, DECODER = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def defined(code: str) -> dict[str, Any]:
    """Return what a block of the document defines."""
    found: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(DOCUMENT), "exec", dont_inherit=True), found)
    return found


example = defined(EXAMPLE)
kept = App(group="kept")


@kept.function
def hello(name: str) -> str:
    return f"hello {name}"


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment(replay=False) as environment:
        environment.use(example["app"], kept)
        yield environment


async def test_the_example_is_archived_after_a_week_and_deleted_after_a_year(env: TestEnvironment) -> None:
    """With its children; a reader hardly notices."""
    handle = await env.spawn(example["fulfil"], ["lamp", "chair"])
    assert await handle.result() == ["lamp packed", "chair packed"]
    await env.advance(timedelta(days=6))
    assert not (await env.client.get(handle.name)).is_archived
    await env.advance(timedelta(days=2))
    await env.advance(timedelta(minutes=1))
    tree = await env.client.get_tree(handle.name)
    assert tree.is_archived
    assert [node.phase for _, node in tree.walk()] == ["Completed"] * 3
    assert await env.client.list(include_archived=False) == []
    assert len(await env.client.list(only_root=True, function="fulfil")) == 1
    (archive,) = await archives(env)
    lines = [msgspec.json.decode(line) for line in defined(DECODER)["objects"](archive)]
    assert sorted(line["spec"]["function"] for line in lines) == ["fulfil", "pack", "pack"]
    await env.advance(timedelta(days=365))
    await env.advance(timedelta(minutes=1))
    assert await archives(env) == []
    with pytest.raises(NotFound):
        await env.client.get(handle.name)


async def test_what_says_nothing_stays_and_what_is_only_deleted_leaves_no_archive(env: TestEnvironment) -> None:
    """Of three functions without a ttl one call has one; another one keeps it in spite of its function."""
    deleted = await env.spawn(hello.options(ttl=Retention(delete_after=timedelta(hours=1))), "a")
    stays = await env.spawn(hello, "b")
    told_to_stay = await env.spawn(example["fulfil"].options(ttl=Retention()), ["lamp"])
    for handle in (deleted, stays, told_to_stay):
        await handle.result()
    for _ in range(3):
        await env.advance(timedelta(days=30))
    found = {one.metadata.name for one in await env.client.list(only_root=True)}
    assert found == {stays.name, told_to_stay.name}
    assert await archives(env) == []


async def archives(env: TestEnvironment) -> list[dict[str, Any]]:
    body = await env.client.kube.send(requests.list_objects(requests.ARCHIVED_EXECUTIONS, "default"))
    found: list[dict[str, Any]] = msgspec.json.decode(body)["items"]
    assert all(base64.b64decode(one["spec"]["data"]) for one in found)
    return found
