"""Internal. The live Executions of this replica: one mutable ``Entry`` each, with the indexes that lookups need.

Filled by ``controllers.execution`` from lists, watch events and the answers to its own writes. An entry is dropped when
its Execution has ended and stopped; its uid then stays as a tombstone until the watch has shown that it left the
selection, so that an older event cannot bring it back to life.
"""

from __future__ import annotations

from collections.abc import Iterator

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import NO_NEWS, Activation, News


class Entry:
    """One live Execution, as this replica knows it.

    Attributes:
        status: as last written or read; ``version`` is the resourceVersion of that.
        news: reported by the activation, not in a write yet.
        writing: what the write in flight carries, or None when there is none.
        deferred: newest object seen while a write was in flight.
        children: child name -> step id, for children whose outcome the activation waits for.
        unwanted: names of children that were given up while they were being created.
        timers: step ids whose firing the activation waits for.
        inherited, dormant, woken, cancel_message: see ``lifecycle.observed.Observed``.
        is_checked: whether it is known that its parent still wants it.
    """

    __slots__ = (
        "activation",
        "cancel_message",
        "children",
        "created_at_ms",
        "deferred",
        "dormant",
        "inherited",
        "is_checked",
        "labels",
        "memo",
        "name",
        "news",
        "parent_name",
        "parent_uid",
        "spec",
        "status",
        "timers",
        "uid",
        "unwanted",
        "version",
        "woken",
        "writing",
    )

    def __init__(self, execution: Execution, memo: MemoBytes, *, inherited: bool) -> None:
        meta = execution.metadata
        self.name = meta.name
        self.uid = meta.uid
        self.labels = meta.labels
        self.created_at_ms = int(meta.creation_timestamp.timestamp() * 1000) if meta.creation_timestamp else 0
        parent = next((owner for owner in meta.owner_references if owner.kind == "Execution"), None)
        self.parent_name = parent.name if parent else ""
        self.parent_uid = parent.uid if parent else ""
        self.spec: ExecutionSpec = execution.spec
        self.status: ExecutionStatus = execution.status
        self.version = meta.resource_version
        self.memo = memo
        self.activation: Activation | None = None
        self.news: News = NO_NEWS
        self.writing: News | None = None
        self.deferred: Execution | None = None
        self.children: dict[str, str] = {}
        self.unwanted: set[str] = set()
        self.timers: set[str] = set()
        self.inherited = inherited
        self.dormant = False
        self.woken = False
        self.cancel_message = ""
        self.is_checked = not (inherited and parent)

    @property
    def root(self) -> str:
        """Label value that names the root of its tree."""
        return self.labels.get(labels.ROOT) or labels.label_value(self.name)


class EntryStore:
    """Entries by name, by uid, by activation and by parent."""

    def __init__(self) -> None:
        self._by_name: dict[str, Entry] = {}
        self._by_uid: dict[str, Entry] = {}
        self._by_activation: dict[int, Entry] = {}
        self._children: dict[str, dict[str, Entry]] = {}
        self._tombstones: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Entry | None:
        """Return the entry of that name, or None."""
        return self._by_name.get(name)

    def by_uid(self, uid: str) -> Entry | None:
        """Return the entry of that uid, or None."""
        return self._by_uid.get(uid)

    def by_activation(self, number: int) -> Entry | None:
        """Return the entry that the activation belongs to; None when it has been forgotten."""
        return self._by_activation.get(number)

    def children_of(self, uid: str) -> list[Entry]:
        """Return the live children of the Execution with that uid."""
        return list(self._children.get(uid, {}).values())

    def has_ended(self, uid: str) -> bool:
        """Tell whether that Execution has ended here, and older events of it may still come."""
        return uid in self._tombstones

    def add(self, entry: Entry) -> None:
        """Add a new entry; one of the same name with another uid is replaced."""
        known = self._by_name.get(entry.name)
        if known is not None:
            self.remove(known)
        self._by_name[entry.name] = entry
        self._by_uid[entry.uid] = entry
        if entry.parent_uid:
            self._children.setdefault(entry.parent_uid, {})[entry.uid] = entry

    def remove(self, entry: Entry, *, tombstone: bool = False) -> None:
        """Drop an entry, and its activation with it."""
        self.forget_activation(entry)
        if self._by_name.get(entry.name) is entry:
            del self._by_name[entry.name]
        self._by_uid.pop(entry.uid, None)
        siblings = self._children.get(entry.parent_uid)
        if siblings is not None:
            siblings.pop(entry.uid, None)
            if not siblings:
                del self._children[entry.parent_uid]
        if tombstone:
            self._tombstones.add(entry.uid)

    def bury(self, uid: str) -> None:
        """The watch has shown that it left the selection: no older event can come any more."""
        self._tombstones.discard(uid)

    def bury_all_but(self, uids: set[str]) -> None:
        """A whole list shows only ``uids``: everything else has left the selection for good."""
        self._tombstones &= uids

    def set_activation(self, entry: Entry, activation: Activation) -> None:
        """Note that the entry runs as ``activation``."""
        entry.activation = activation
        self._by_activation[activation.number] = entry

    def forget_activation(self, entry: Entry) -> None:
        """Note that nothing of the entry runs; frames of its old activation are ignored from now on."""
        if entry.activation is not None:
            self._by_activation.pop(entry.activation.number, None)
            entry.activation = None
        entry.children.clear()
        entry.timers.clear()
