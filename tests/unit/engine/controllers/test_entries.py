"""What is remembered of Executions, and for how long."""

from __future__ import annotations

import sys

import msgspec

from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, Phase
from kontinue_engine.controllers.entries import Entry, EntryStore, Inheritance, Tombstones
from kontinue_engine.lifecycle.observed import Activation


def entry(name: str, *, uid: str = "", version: str = "1", parent: str = "", inherited: bool = False) -> Entry:
    owners = [OwnerReference(api_version="kontinue.cloud/v1alpha1", kind="Execution", name=parent, uid=f"uid-{parent}")]
    metadata = ObjectMeta(
        name=name, uid=uid or f"uid-{name}", resource_version=version, owner_references=owners if parent else []
    )
    return Entry(Execution(metadata=metadata, spec=ExecutionSpec(function="f")), inherited=inherited)


def test_an_entry_is_found_by_uid_name_activation_and_parent_until_it_is_removed() -> None:
    """Removing is complete, and may be repeated."""
    store = EntryStore()
    parent, child = entry("p"), entry("c", parent="p")
    store.add(parent)
    store.add(child)
    store.set_activation(child, Activation(number=7))
    assert store.get("uid-c") is child
    assert store.by_name("c") is child
    assert store.by_activation(7) is child
    assert store.children_of("uid-p") == [child]
    for _ in range(2):
        store.remove(child)
    assert (store.get("uid-c"), store.by_name("c"), store.by_activation(7)) == (None, None, None)
    assert store.children_of("uid-p") == []
    assert list(store) == [parent]


def test_an_entry_does_not_keep_the_answer_that_it_was_read_from() -> None:
    """A list of hundreds of Executions would stay in memory for as long as one of them sleeps."""
    spec, status = b'{"function":"f","arguments":{"a":1}}', b'{"phase":"Suspended","state":{"b":2},"result":3}'
    answer = b'{"metadata":{"name":"n","uid":"u"},"spec":%b,"status":%b}' % (spec, status)
    before = sys.getrefcount(answer)
    found = Entry(msgspec.json.decode(answer, type=Execution), inherited=True)
    assert sys.getrefcount(answer) == before
    assert (bytes(found.spec.arguments), found.status.phase) == (b'{"a":1}', Phase.SUSPENDED)
    assert (found.status.state, found.status.result) == (msgspec.Raw(b'{"b":2}'), msgspec.Raw(b"3"))


def test_a_tombstone_stands_until_the_watch_has_passed_the_last_write() -> None:
    """Whether the watch is behind or ahead of our own writes."""
    tombstones = Tombstones()
    tombstones.add("late", 5)
    tombstones.add("later", 9)
    tombstones.advance(5)
    assert (tombstones.covers("late", 5), tombstones.covers("later", 9)) == (False, True)
    assert not tombstones.covers("later", 10)  # somebody moved it back to us after that
    tombstones.add("passed", 4)
    assert not tombstones.covers("passed", 4)
    tombstones.advance(3)
    assert tombstones.seen == 5
    tombstones.advance(9)
    assert len(tombstones) == 0


def test_what_is_inherited_waits_for_its_turn() -> None:
    """What is fresh need not be claimed."""
    assert entry("r", inherited=True).inheritance is Inheritance.WAITING
    assert entry("f").inheritance is Inheritance.NONE
