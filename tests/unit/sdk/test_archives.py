"""What stands in an archive: everything, in parts that are small enough, the same each time."""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kontinue import archives
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import ArchivedExecution, Execution, Phase

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def document(name: str, **fields: Any) -> dict[str, Any]:
    """Return an Execution as an API server sends it."""
    return {
        "kind": "Execution",
        "apiVersion": labels.API_VERSION,
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "labels": {labels.WORKER_GROUP: "g", "team": "blue"},
            "managedFields": [{"manager": "m"}],
        },
        "spec": {"function": "f", "arguments": {"z": 1, "a": [1.50]}},
        "status": {"phase": "Completed", "result": {"z": 1, "a": 2}},
        **fields,
    }


def pack(*documents: dict[str, Any], delete_at: datetime | None = None) -> list[ArchivedExecution]:
    packer = archives.Packer()
    for one in documents:
        packer.add(msgspec.json.encode(one))
    root = msgspec.json.decode(msgspec.json.encode(documents[0]), type=Execution)
    return archives.build_parts(
        root, packer.finish(), below=["9"] * (len(documents) - 1), group="g", delete_at=delete_at
    )


def test_a_tree_is_read_as_it_was_written() -> None:
    """Objects of all kinds come back, with a mark on the Executions; fields that only servers read do not."""
    suspension = {
        "kind": "Suspension",
        "apiVersion": labels.API_VERSION,
        "metadata": {"name": "s"},
        "spec": {"execution": "root", "kind": "Sleep"},
    }
    page = {
        "kind": "MemoPage",
        "apiVersion": labels.API_VERSION,
        "metadata": {"name": "p"},
        "spec": {"execution": "root", "runEpoch": 0, "number": 1, "memo": {"records": []}},
    }
    parts = pack(document("root"), document("child"), suspension, page)
    found = archives.unpack(parts)
    assert (found.root.metadata.name, found.root.phase, bytes(found.root.status.result)) == (  # type: ignore[arg-type]
        "root",
        Phase.COMPLETED,
        b'{"z":1,"a":2}',
    )
    assert [one.metadata.name for one in found.executions] == ["root", "child"]
    assert all(one.is_archived for one in found.executions)
    assert found.root.metadata.annotations[labels.ARCHIVED_IN] == parts[0].metadata.name
    assert [one.metadata.name for one in (*found.suspensions, *found.pages)] == ["s", "p"]


def test_an_archive_says_in_plain_text_what_it_holds() -> None:
    """Labels are those of the root; columns and filters need no content."""
    (part,) = pack(document("root"), document("child"), delete_at=WHEN)
    spec = part.spec
    assert (spec.execution, spec.function, spec.phase, spec.executions) == ("root", "f", Phase.COMPLETED, 2)
    assert part.metadata.labels == {labels.WORKER_GROUP: "g", "team": "blue"}
    assert archives.delete_time(part.metadata) == WHEN
    key = archives.part_key(part.metadata)
    assert key is not None
    assert (key.uid, key.version, key.newest) == ("uid-root", 7, 9)
    assert (key.part, key.parts, key.execution) == (1, 1, "root")
    assert part.metadata.name == f"root-{key.digest}-1"


def test_the_same_tree_makes_the_same_archive() -> None:
    """So that two leaders that archive at the same time write one archive."""
    one = document("root")
    other = {key: one[key] for key in reversed(one)}
    other["metadata"] = {key: value for key, value in reversed(one["metadata"].items()) if key != "managedFields"}
    assert pack(one) == pack(other)
    assert pack(one)[0].metadata.name != pack(document("root", status={"phase": "Failed"}))[0].metadata.name


def test_values_are_kept_as_they_were_written() -> None:
    """Numbers that Python would round, and lines within JSON."""
    text = msgspec.json.encode(document("root")).replace(b'{"z":1,"a":2}', b'{"big": 123456789012345678901.50,\n"a":2}')
    packer = archives.Packer()
    packer.add(text.replace(b",\n", b", "))
    root = msgspec.json.decode(text, type=Execution)
    found = archives.unpack(archives.build_parts(root, packer.finish(), below=(), group="g", delete_at=None))
    assert bytes(found.root.status.result) == b'{"big": 123456789012345678901.50, "a":2}'  # type: ignore[arg-type]
    packer = archives.Packer()
    packer.add(text)
    found = archives.unpack(archives.build_parts(root, packer.finish(), below=(), group="g", delete_at=None))
    assert msgspec.json.decode(found.root.status.result)["a"] == 2  # type: ignore[arg-type]


def test_a_large_tree_is_cut_into_parts_that_are_small_enough() -> None:
    """Nothing compresses noise; each part fits, also in Base64."""
    noise = base64.b64encode(random.Random(1).randbytes(600_000)).decode()
    parts = pack(document("root", status={"phase": "Completed", "result": noise}))
    assert [part.spec.part for part in parts] == [1, 2]
    assert all(part.spec.parts == 2 for part in parts)
    assert max(len(msgspec.json.encode(part)) for part in parts) <= archives.MAX_PART_BYTES
    assert archives.unpack(reversed(parts)).root.metadata.name == "root"
    with pytest.raises(archives.ArchiveError, match="part 2 of 2 of the archive of root is missing"):
        archives.unpack(parts[:1])


@pytest.mark.parametrize("data", ["", "no base64!", base64.b64encode(b"no zlib").decode()])
def test_what_is_no_archive_is_said_to_be_none(data: str) -> None:
    """Whoever edits the stored bytes gets one error of ours."""
    (part,) = pack(document("root"))
    broken = msgspec.structs.replace(part, spec=msgspec.structs.replace(part.spec, data=data))
    with pytest.raises(archives.ArchiveError, match="cannot be read"):
        archives.unpack([broken])


def test_an_archive_that_is_cut_short_is_no_archive() -> None:
    """Nor one whose root is not in it."""
    (part,) = pack(document("root"))
    half = part.spec.data[: len(part.spec.data) // 8 * 4]
    for change in ({"data": half}, {"uid": "another"}):
        broken = msgspec.structs.replace(part, spec=msgspec.structs.replace(part.spec, **change))
        with pytest.raises(archives.ArchiveError):
            archives.unpack([broken])


@pytest.mark.parametrize(
    "note", ["", "u 1 1 d 1 n", "u 1 1 d 2 1 n", "u 1 1 d 0 1 n", "u x 1 d 1 1 n", "u 1 x d 1 1 n", "u 1 1 d 1 1 n n"]
)
def test_what_somebody_else_made_is_no_part(note: str) -> None:
    """Annotations are anybody's."""
    assert archives.part_key(ObjectMeta(name="n", annotations={labels.ARCHIVE_PART: note})) is None


@pytest.mark.parametrize("text", ["", "soon", "2026-01-02", "2026-01-02T03:04:05"])
def test_what_is_no_time_deletes_nothing(text: str) -> None:
    """Somebody may remove the annotation to keep an archive, or mistype it."""
    assert archives.delete_time(ObjectMeta(annotations={labels.DELETE_AT: text})) is None
