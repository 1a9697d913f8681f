"""Of the archives that an Execution may stand in, damaged ones hide no others. Against servers: integration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from kontinue import archives
from kontinue.api import labels
from kontinue.api.v1alpha1 import ArchivedExecution, Execution
from kontinue.archives import ArchiveError
from kontinue.client import archived
from kontinue.kube.requests import Request
from kontinue.naming import child_name


class Shelf:
    """Archives, as an API server lists them."""

    def __init__(self, *stored: ArchivedExecution) -> None:
        self._stored = stored

    async def send(self, request: Request) -> bytes:
        wanted = dict(parse_qsl(request.query)).get("fieldSelector", "")
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
