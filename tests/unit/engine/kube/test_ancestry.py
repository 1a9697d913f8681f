"""From whom an Execution descends."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.kube import requests
from kontinue_engine.kube import ancestry
from kontinue_engine.kube.ancestry import Ancestry


class Family:
    """A transport that knows who is whose child: name -> uid and parent."""

    def __init__(self, **parents: str) -> None:
        self.parents = parents
        self.asked: list[str] = []

    async def send(self, request: requests.Request, **_: Any) -> bytes:
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        await asyncio.sleep(0)
        if name not in self.parents:
            raise errors.NotFound("gone", status=404)
        parent = self.parents[name]
        owners = [{"apiVersion": "v", "kind": "Execution", "name": parent, "uid": f"uid-{parent}"}] if parent else []
        return msgspec.json.encode({"metadata": {"name": name, "uid": f"uid-{name}", "ownerReferences": owners}})


def of(family: Family) -> Ancestry:
    return Ancestry(family, "ns")  # type: ignore[arg-type]


async def test_all_generations_are_found() -> None:
    """Up to the root."""
    family = Family(child="parent", parent="root", root="")
    assert await of(family).find("child", "uid-child") == {"uid-child", "uid-parent", "uid-root"}


async def test_siblings_ask_once() -> None:
    """Thousands may wait at the same time."""
    family = Family(parent="root", root="")
    subject = of(family)
    found = await asyncio.gather(*(subject.find("parent", "uid-parent") for _ in range(10)))
    assert found == [{"uid-parent", "uid-root"}] * 10
    assert family.asked == ["parent", "root"]


@pytest.mark.parametrize("name", ["gone", "namesake"])
async def test_one_that_is_gone_ends_the_line(name: str) -> None:
    """A namesake is not its ancestor."""
    assert await of(Family(namesake="root", root="")).find(name, "uid-other") == {"uid-other"}


async def test_not_everything_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader lives for months."""
    monkeypatch.setattr(ancestry, "MAX_REMEMBERED", 2)
    family = Family(a="", b="", c="")
    subject = of(family)
    for name in ("a", "b", "c", "a"):
        await subject.find(name, f"uid-{name}")
    assert family.asked == ["a", "b", "c", "a"]
