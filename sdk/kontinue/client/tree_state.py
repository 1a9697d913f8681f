"""What is known of a tree, and the tree made of it: of a change, only the nodes above it are made anew. Pure.

A tree of a thousand nodes that changes fifty times a second costs as much as its changes do, not as much as the tree.
Fed by ``kontinue.client.tree_watcher``, and once by ``Client.get_tree`` (``build_tree``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Execution
from kontinue.client.tree import ExecutionTree, ExecutionTreeNode, Member, build_node, call_order


class _Entry(msgspec.Struct, frozen=True):
    """One object.

    Attributes:
        parent: uid of the Execution that has started it; empty if none has.
        order: sorts it among what its parent has started.
    """

    member: Member
    parent: str
    order: Any


class TreeState:
    """The objects of one tree by uid. ``top`` may stand anywhere in its root's tree; what is not below it is ignored.

    Invariant: an object without a node has no ancestor with one.
    """

    def __init__(self) -> None:
        self.top: Execution | None = None
        self._entries: dict[str, _Entry] = {}
        self._below: dict[str, set[str]] = {}
        self._sorted: dict[str, list[str]] = {}
        self._nodes: dict[str, ExecutionTreeNode] = {}

    def set_top(self, top: Execution | None) -> None:
        """Say which Execution the tree is of, as it is now; None if there is none any more."""
        for known in (self.top, top):
            if known is not None:
                self._forget_nodes(known.metadata.uid)
        self.top = top

    def put(self, member: Member) -> None:
        """Take an object as it is now."""
        uid = member.metadata.uid
        known = self._entries.get(uid)
        if known is not None and known.member.metadata.resource_version == member.metadata.resource_version != "":
            return
        owner = parent_of(member.metadata.owner_references)
        parent = owner.uid if owner is not None else ""
        if known is not None and known.parent != parent:
            self.remove(uid)
        self._entries[uid] = _Entry(member, parent, call_order(member))
        siblings = self._below.setdefault(parent, set())
        if uid not in siblings:
            siblings.add(uid)
            self._sorted.pop(parent, None)
            self._forget_nodes(parent)
        self._forget_nodes(uid)

    def remove(self, uid: str) -> None:
        """Take note that an object is gone; nothing happens if it is not known."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        self._forget_nodes(uid)
        del self._entries[uid]
        self._below[entry.parent].discard(uid)
        if not self._below[entry.parent]:
            del self._below[entry.parent]
        self._sorted.pop(entry.parent, None)

    def replace(self, kind: type[Member], members: Iterable[Member]) -> None:
        """Take all objects of one kind as they are now; those that are not among them are gone."""
        found = {member.metadata.uid: member for member in members}
        gone = [uid for uid, one in self._entries.items() if isinstance(one.member, kind) and uid not in found]
        for uid in gone:
            self.remove(uid)
        for member in found.values():
            self.put(member)

    def build(self) -> ExecutionTree | None:
        """Return the tree as it is now; None if its top is not known, or gone."""
        top = self.top
        if top is None:
            return None
        wanted: dict[str, None] = {}  # parents first, without recursion: thousands of levels are legal
        left = [top.metadata.uid]
        while left:
            uid = left.pop()
            if uid not in self._nodes and uid not in wanted:  # in case somebody has made two each other's owner
                wanted[uid] = None
                left += self._below.get(uid, ())
        for uid in reversed(wanted):
            member = top if uid == top.metadata.uid else self._entries[uid].member
            below = [node for child in self._children(uid) if (node := self._nodes.get(child)) is not None]
            self._nodes[uid] = build_node(member, below)
        return ExecutionTree(root=self._nodes[top.metadata.uid], is_archived=top.is_archived)

    def _children(self, uid: str) -> list[str]:
        found = self._sorted.get(uid)
        if found is None:
            found = self._sorted[uid] = sorted(self._below.get(uid, ()), key=lambda child: self._entries[child].order)
        return found

    def _forget_nodes(self, uid: str) -> None:
        """Have the nodes of an object and of everything above it made anew."""
        while self._nodes.pop(uid, None) is not None and uid in self._entries:
            uid = self._entries[uid].parent


def build_tree(top: Execution, others: Iterable[Member]) -> ExecutionTree:
    """Return the tree under ``top``; whatever of ``others`` does not descend from it is left out."""
    state = TreeState()
    state.set_top(top)
    for member in others:
        state.put(member)
    tree = state.build()
    assert tree is not None  # noqa: S101 - it has a top
    return tree
