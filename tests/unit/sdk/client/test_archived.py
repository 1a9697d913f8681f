"""Of the archives that an Execution may stand in, damaged ones hide no others. Against servers: integration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from kontinue import archives, errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import ArchivedExecution, Execution, Phase
from kontinue.archives import ArchiveError, MissingPartsError
from kontinue.client import archived
from kontinue.client.selectors import Filter
from kontinue.kube.requests import Request
from kontinue.naming import child_name


class Shelf:
    """Archives, as an API server lists them, and the uids of roots that live."""

    def __init__(self, *stored: ArchivedExecution, living: Sequence[str] = ()) -> None:
        self._stored = stored
        self._living = living
        self.requests: list[str] = []

    async def send(self, request: Request) -> bytes:
        self.requests.append(request.path.rpartition("/")[2])
        if self.requests[-1] == "executions":
            return msgspec.json.encode({"metadata": {}, "items": [{"metadata": {"uid": uid}} for uid in self._living]})
        wanted = dict(parse_qsl(request.query)).get("fieldSelector", "")
        wanted = wanted if wanted.startswith("spec.execution=") else ""
        items = [one for one in self._stored if wanted in ("", f"spec.execution={one.spec.execution}")]
        return msgspec.json.encode({"metadata": {}, "items": items})


def archive(name: str, *, version: int = 1, below: Sequence[str] = (), is_damaged: bool = False) -> ArchivedExecution:
    documents = [document(one, version) for one in (name, *below)]
    packer = archives.Packer()
    for one in documents:
        packer.add(msgspec.json.encode(one))
    root = msgspec.json.decode(msgspec.json.encode(documents[0]), type=Execution)
    packed = packer.finish()
    (part,) = archives.build_parts(root, packed, below=[str(version)] * len(below), group="g", delete_at=None)
    spec = msgspec.structs.replace(part.spec, data=part.spec.data[: len(part.spec.data) // 8 * 4])
    return msgspec.structs.replace(part, spec=spec) if is_damaged else part


def document(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}-{version}", "resourceVersion": str(version)}
    spec = {"function": "f", "arguments": {}}
    return {
        "kind": "Execution",
        "apiVersion": labels.API_VERSION,
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Failed"},
    }


async def test_an_older_archive_that_is_damaged_hides_no_newer_one() -> None:
    """Whoever asks by name wants the newest."""
    shelf = Shelf(archive("order", version=3, is_damaged=True), archive("order", version=7))
    found = await archived.find(shelf.send, "ns", "order")
    assert found is not None
    assert found.root.metadata.resource_version == "7"


async def test_the_newest_archive_is_not_replaced_by_an_older_one() -> None:
    """It is said to be damaged: another answer would be a wrong one."""
    shelf = Shelf(archive("order", version=3), archive("order", version=7, is_damaged=True))
    with pytest.raises(ArchiveError, match="cannot be read"):
        await archived.find(shelf.send, "ns", "order")


async def test_a_damaged_archive_of_another_root_hides_no_child() -> None:
    """A child is looked for in all whose name its own may begin with; in vain, what is damaged is said."""
    root = "an-order-of-a-customer-with-a-long-name"
    child = child_name(f"{root}-2", "0", f"uid-{root}-2-1", 0, 0)
    damaged = archive(f"{root}-1", is_damaged=True)
    shelf = Shelf(damaged, archive(f"{root}-2", below=[child]))
    found = await archived.find(shelf.send, "ns", child)
    assert found is not None
    assert found.root.metadata.name == f"{root}-2"
    with pytest.raises(ArchiveError, match=f"{root}-1 cannot be read"):
        await archived.find(Shelf(damaged).send, "ns", child)


def parts_of(name: str) -> list[ArchivedExecution]:
    """Return the three parts of an archive."""
    packer = archives.Packer()
    text = msgspec.json.encode(document(name, 1))
    packer.add(text)
    root = msgspec.json.decode(text, type=Execution)
    packed = packer.finish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "MAX_DATA_BYTES", len(packed.data) // 3 + 1)
        parts = archives.build_parts(root, packed, below=(), group="g", delete_at=None)
    assert len(parts) == 3
    return parts


def wanted(*phases: Phase) -> Filter:
    return Filter(function=None, labels={}, root=None, phases=frozenset(phases), only_root=False)


async def listed(shelf: Shelf, *phases: Phase) -> list[str]:
    return [one.metadata.name async for one in archived.iterate(shelf.send, "ns", wanted(*phases))]


async def test_an_archive_that_is_damaged_hides_no_other_from_a_list(caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, and a warning says which it is, and what to do."""
    damaged = archive("broken", is_damaged=True)
    assert await listed(Shelf(archive("first"), damaged, archive("last"))) == ["first", "last"]
    (warning,) = caplog.messages
    assert f"archive {damaged.metadata.name} of broken cannot be read" in warning
    assert f"or delete ArchivedExecution {damaged.metadata.name}" in warning


async def test_a_part_that_is_missing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """By whoever asks for the Execution, and by a list, which has all others."""
    first, _, last = parts_of("order")
    shelf = Shelf(first, last, archive("other"))
    with pytest.raises(MissingPartsError, match="part 2 of 3 of the archive of order is missing: restore") as caught:
        await archived.find(shelf.send, "ns", "order")
    assert not caught.value.is_unfinished
    assert await listed(shelf) == ["other"]
    assert ["part 2 of 3 of the archive of order is missing" in text for text in caplog.messages] == [True]


async def test_an_archive_without_its_last_part_is_not_said_to_be_damaged(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody may be writing it: a list leaves it out, and who asks for the Execution is told what there is."""
    first, *_ = parts_of("order")
    shelf = Shelf(first)
    with pytest.raises(MissingPartsError, match="parts 2, 3 of 3 of the archive of order are missing") as caught:
        await archived.find(shelf.send, "ns", "order")
    assert caught.value.is_unfinished
    assert await listed(shelf) == []
    assert caplog.messages == []


async def test_parts_that_are_missing_hide_no_archive_that_is_whole() -> None:
    """A leader that died may have left some of a newer version."""
    first, *_ = parts_of("order")
    found = await archived.find(Shelf(first, archive("order", version=2)).send, "ns", "order")
    assert found is not None


async def test_what_runs_again_is_not_listed_as_it_was_archived() -> None:
    """Its archive does not count, until it is dropped; asked for by phases what lives would not show that."""
    shelf = Shelf(archive("retried"), archive("gone"), living=["uid-retried-1"])
    assert await listed(shelf, Phase.FAILED) == ["gone"]


async def test_what_can_not_be_retried_is_not_looked_for() -> None:
    """Nor what no archive holds: a list costs a request more only where it has to."""
    shelf = Shelf(archive("failed"))
    assert await listed(shelf, Phase.COMPLETED) == []
    assert await listed(shelf) == ["failed"]
    assert "executions" not in shelf.requests


async def test_an_archive_of_another_version_of_the_kind_is_an_error_of_ours() -> None:
    """It says what to look at, as every other answer that does not fit."""

    async def send(request: Request) -> bytes:
        return b'{"metadata":{},"items":[{"metadata":{"name":"x"},"spec":5}]}'

    with pytest.raises(errors.ApiError, match="no list of ArchivedExecutions as this version of kontinue knows it"):
        await archived.find(send, "ns", "x")
