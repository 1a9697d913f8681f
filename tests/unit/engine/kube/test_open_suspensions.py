"""Which Suspensions are open, whose they are, and who is told that one is not any more."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import SuspensionKind
from kontinue.kube.watch import EventType
from kontinue_engine.kube.open_suspensions import OpenSuspension, OpenSuspensions, SuspensionView, _Spec

AT = datetime(2026, 1, 1, tzinfo=UTC)


def view(name: str, *, owner: str = "a", version: str = "1", resume_at: datetime | None = None) -> SuspensionView:
    owners = [OwnerReference(api_version="v", kind="Execution", name=owner, uid=owner)] if owner else []
    meta = ObjectMeta(name=name, resource_version=version, owner_references=owners)
    return SuspensionView(metadata=meta, spec=_Spec(kind=SuspensionKind.SLEEP, resume_at=resume_at))


class Told(OpenSuspensions):
    """A store, and what it has told."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[str] = []
        self.lists = 0
        self.on_gone = lambda one: self.gone.append(one.name)
        self.on_listed = self.count

    def count(self) -> None:
        self.lists += 1

    def names_of(self, owner: str) -> list[str]:
        return sorted(one.name for one in self.of_owner(owner))


def test_each_has_its_owner_and_its_time() -> None:
    """Also after a change of either."""
    store = Told()
    store.on_list([view("x", resume_at=AT), view("y"), view("nobody's", owner="")], initial=True)
    assert store.names_of("a") == ["x", "y"]
    one = store.get("x")
    assert one == OpenSuspension(
        name="x", owner_uid="a", version="1", is_sleep=True, resume_at_ms=round(AT.timestamp() * 1000)
    )
    store.on_event("MODIFIED", view("x", owner="b", version="2"))
    assert (store.names_of("a"), store.names_of("b")) == (["y"], ["x"])
    assert store.gone == ["x"], "whoever waited for it has to look"


def test_one_that_waits_for_several_has_all_that_are_left() -> None:
    """Whichever goes first."""
    names = ["u", "v", "w", "x"]
    for order in itertools.permutations(names):
        store = Told()
        store.on_list([view(name) for name in names], initial=True)
        left = set(names)
        for name in order:
            store.on_event("DELETED", view(name))
            left.discard(name)
            assert store.names_of("a") == sorted(left)


def test_what_is_gone_is_told_once() -> None:
    """By an event, or because a list does not have it."""
    store = Told()
    store.on_list([view("x"), view("y"), view("z")], initial=True)
    store.on_event("DELETED", view("x"))
    store.on_event("DELETED", view("x"))
    store.on_list([view("z")], initial=False)
    assert (store.gone, store.lists) == (["x", "y"], 2)
    assert store.get("x") is None
    assert store.names_of("a") == ["z"]


def test_who_follows_is_told_of_all_that_are_and_come() -> None:
    """Until it stops."""
    store = Told()
    store.on_list([view("x")], initial=True)
    seen: list[tuple[str, str]] = []
    types: tuple[EventType, ...] = ("ADDED", "MODIFIED", "DELETED")
    with store.following(lambda one: seen.append((one.name, one.version))):
        for version, type_ in enumerate(types, 2):
            store.on_event(type_, view("y", version=str(version)))
    store.on_event("ADDED", view("z"))
    assert seen == [("x", "1"), ("y", "2"), ("y", "3")]
