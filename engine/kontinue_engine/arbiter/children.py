"""Internal. Objects that belong to a parent, as the watch shows them and as our own writes were answered with.

Filled by an informer and by ``families``, which decides about all children of a parent together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from kontinue.api.meta import ObjectMeta
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.caretaker import key_of
from kontinue_engine.arbiter.looks import Key, Looks


class Told(Protocol):
    """What the coordinator has decided about a child."""

    @property
    def parent_uid(self) -> str:
        """Of the parent of which it was decided; empty before."""
        ...


class Child(Protocol):
    """An object that names its parent."""

    @property
    def status(self) -> Told:
        """What was decided."""
        ...

    @property
    def metadata(self) -> ObjectMeta:
        """Name, uid, version and owners are read."""
        ...

    @property
    def parent(self) -> str:
        """Name of its parent, in the same namespace."""
        ...


C = TypeVar("C", bound=Child)


class Children(Generic[C]):
    """All children by their parent; handler of their watch."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._by_parent: dict[Key, dict[str, C]] = {}

    def of(self, key: Key) -> Sequence[C]:
        """Return those of a parent."""
        return list(self._by_parent.get(key, {}).values())

    def groups(self) -> Sequence[tuple[Key, Sequence[C]]]:
        """Return all, by their parent."""
        return [(key, list(children.values())) for key, children in self._by_parent.items()]

    def on_list(self, objects: Sequence[C], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        found = {key_of(one) for one in objects}
        known = [one for children in self._by_parent.values() for one in children.values()]
        for one in known:
            if key_of(one) not in found:
                self.on_event("DELETED", one)
        for one in objects:
            self.take(one)

    def on_event(self, type: EventType, obj: C) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type != "DELETED":
            self.take(obj)
            return
        key = _parent_of(obj)
        children = self._by_parent.get(key, {})
        children.pop(obj.metadata.name, None)
        if not children:
            self._by_parent.pop(key, None)
        self._looks.queue.add(key)

    def take(self, child: C) -> None:
        """Take one as it is now."""
        key = _parent_of(child)
        children = self._by_parent.setdefault(key, {})
        if is_newer(child, children.get(child.metadata.name)):
            children[child.metadata.name] = child
            self._looks.queue.add(key)

    def update(self, child: C) -> None:
        """Take one that we have written, unless it has been deleted meanwhile."""
        if child.metadata.name in self._by_parent.get(_parent_of(child), {}):
            self.take(child)


def _parent_of(child: Child) -> Key:
    return child.metadata.namespace, child.parent


def is_newer(subject: HasMetadata, known: HasMetadata | None) -> bool:
    """Tell whether an object takes the place of what is known: not what a late watch shows after an answer."""
    if known is None or known.metadata.uid != subject.metadata.uid:
        return True
    versions = [one.metadata.resource_version for one in (subject, known)]
    return not all(one.isdecimal() for one in versions) or int(versions[0]) >= int(versions[1])
