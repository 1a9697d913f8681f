"""managedFields entries: read, written, kept few, named."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.apply import managers
from kontinue_engine.apiserver.apply.field_sets import field
from kontinue_engine.apiserver.apply.managers import APPLY, UPDATE, Manager, Owned, Owners

ENTRY = {
    "manager": "m",
    "operation": "Apply",
    "apiVersion": "v1",
    "time": "2026-01-01T00:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:a": {}}},
    "subresource": "status",
}


def updates(count: int, *, version: str = "v1") -> Owners:
    return {
        Manager.of(f"m{number:02}", UPDATE, version, ""): Owned(
            frozenset({field("spec", f"{version}-{number}")}), version, f"2026-01-01T00:00:{number:02}Z"
        )
        for number in range(count)
    }


def test_entries_are_read_and_written_unchanged() -> None:
    """What is stored comes back."""
    owners = managers.decode([ENTRY])
    assert owners == {
        Manager("m", "Apply", "", "status"): Owned(frozenset({field("spec", "a")}), "v1", "2026-01-01T00:00:00Z")
    }
    assert managers.encode(owners) == [ENTRY]


def test_versions_tell_updates_apart_and_not_applies() -> None:
    """One name that updates in two versions has two entries; one that applies has one."""
    assert Manager.of("m", UPDATE, "v1", "") != Manager.of("m", UPDATE, "v2", "")
    assert Manager.of("m", APPLY, "v1", "") == Manager.of("m", APPLY, "v2", "")


def test_appliers_come_first_then_the_oldest() -> None:
    """The order of kube-apiserver; who never changed anything has no time and is the oldest."""
    entries = [
        {**ENTRY, "operation": "Update", "time": "2026-01-01T00:00:00Z"},
        {**ENTRY, "manager": "late", "time": "2026-01-02T00:00:00Z"},
        {**ENTRY, "manager": "early"},
        {key: value for key, value in ENTRY.items() if key != "time"} | {"manager": "none"},
    ]
    written = managers.encode(managers.decode(entries))
    assert [(entry["manager"], entry["operation"]) for entry in written] == [
        ("none", "Apply"),
        ("early", "Apply"),
        ("late", "Apply"),
        ("m", "Update"),
    ]


@pytest.mark.parametrize(
    "entries",
    [
        "x",
        [3],
        [{}],
        [{**ENTRY, "operation": "Steal"}],
        [{**ENTRY, "apiVersion": ""}],
        [{**ENTRY, "apiVersion": 3}],
        [{**ENTRY, "fieldsType": "FieldsV0"}],
        [{**ENTRY, "time": 3}],
        [{**ENTRY, "fieldsV1": {"nonsense": {}}}],
    ],
)
def test_malformed_entries_are_refused(entries: Any) -> None:
    """Never a crash, never a guess."""
    with pytest.raises(managers.InvalidEntriesError):
        managers.decode(entries)


def test_ten_updaters_are_kept() -> None:
    """The cap is on what is more than that, and appliers don't count."""
    owners = updates(10)
    owners[Manager.of("applier", APPLY, "v1", "")] = Owned(frozenset({field("x")}), "v1", None)
    assert managers.capped(owners) == owners


def test_the_oldest_of_too_many_updaters_become_one_per_version() -> None:
    """No field loses its owner, and versions are not mixed."""
    owners = updates(8) | updates(8, version="v2")
    kept = managers.capped(owners)
    assert len(kept) == 10
    buckets = {manager.api_version for manager in kept if manager.name == managers.OLD_UPDATES}
    assert buckets == {"v1", "v2"}
    for version in ("v1", "v2"):
        before = frozenset[Any]().union(*(owned.fields for owned in owners.values() if owned.api_version == version))
        after = frozenset[Any]().union(*(owned.fields for owned in kept.values() if owned.api_version == version))
        assert after == before
    assert Manager.of("m07", UPDATE, "v2", "") in kept


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (b"kubectl/v1.36.0 (linux/amd64)", "kubectl"),
        (b"", ""),
        (b"\x00odd\x1b name/1", "odd name"),
        (b"a" * 200, "a" * 128),
        ("ü".encode() * 100, "ü" * 64),
    ],
)
def test_user_agents_name_managers(agent: bytes, name: str) -> None:
    """What stands before the slash, as far as it can be printed and fits."""
    assert managers.name_of_user_agent(agent) == name


def test_managers_are_shown_with_what_tells_them_apart() -> None:
    """As conflicts name them."""
    assert str(Manager.of("m", APPLY, "v1", "")) == '"m"'
    assert str(Manager.of("", UPDATE, "v1", "status")) == '"unknown" with subresource "status" using v1'


def test_an_empty_time_is_none() -> None:
    """Read and written again, an entry says the same."""
    entry = {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": ""}
    owners = managers.decode([entry])
    assert managers.decode(managers.encode(owners)) == owners
