"""Internal. The live Executions of this replica: one mutable ``Entry`` each, with the indexes that lookups need.

Filled by ``controllers.observation`` from lists, watch events and the answers to creates; dropped when an Execution has
ended and stopped, was deleted, or belongs to somebody else. Its uid then stays among the ``Tombstones`` until the watch
has passed its last write, so that an older event cannot bring it back to life.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus
from kontinue_engine.controllers.folding import Folded, fold, unfold
from kontinue_engine.controllers.room import RoomWait
from kontinue_engine.kube.followed_jobs import FollowedJob
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.lifecycle.observed import NO_NEWS, Activation, News
from kontinue_engine.lifecycle.running import JOB_KINDS, UNCREATED_MESSAGE
from kontinue_engine.lifecycle.statuses import asked_for, next_attempt
from kontinue_engine.lifecycle.times import ms_of
from kontinue_engine.sharding.views import deaths_of, has_begun
from kontinue_engine.wire.frames import StartJob, StartSuspension


class Inheritance(enum.Enum):
    """What an Execution that somebody else may have started still needs before it may run."""

    NONE = enum.auto()
    """It is ours: fresh, or claimed."""
    WAITING = enum.auto()
    """It must be claimed, when it is its turn."""
    ADMITTED = enum.auto()
    """It is its turn."""


class Rest(enum.Enum):
    """Whether an Execution that waits has an activation to wait in."""

    AWAKE = enum.auto()
    """It has one, or is to be given one."""
    DORMANT = enum.auto()
    """It has none, and needs none before something that it waits for happens."""
    WOKEN = enum.auto()
    """That has happened."""


class AwaitedSuspension(msgspec.Struct, frozen=True, kw_only=True):
    """A Suspension that an activation waits for.

    Attributes:
        command: what was asked for.
        until_ms: when it ends by itself; None for never.
        version: resourceVersion of the answer that the activation was told, or empty.
    """

    command: StartSuspension
    until_ms: int | None
    version: str = ""


class AwaitedJob:
    """A Job or Pod that an activation waits for.

    Attributes:
        command: what was asked for.
        look_first: an earlier activation may have created it.
        exists: it was created, or found, and had not ended.
        held_up_by: why it may not start yet, as last read.
        has_news: something has been heard of it that was not read.
        is_looked_at: it is being created, or read.
    """

    __slots__ = ("command", "exists", "has_news", "held_up_by", "is_looked_at", "look_first")

    def __init__(self, command: StartJob, *, look_first: bool) -> None:
        self.command = command
        self.look_first = look_first
        self.exists = False
        self.held_up_by = ""
        self.has_news = False
        self.is_looked_at = False

    def is_other(self, known: FollowedJob | None) -> bool:
        """Tell whether a list shows something that was not read."""
        return not self.exists or known is None or known.has_ended or known.held_up_by != self.held_up_by


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that an activation waits for, or did: the pause since the last look outlives it.

    Attributes:
        due_ms: when to look again.
        is_awaited: the activation waits to be told so.
    """

    name: str
    every_ms: int
    due_ms: int
    is_awaited: bool


class Entry:
    """One live Execution, as this replica knows it.

    Attributes:
        status: as last written or read; ``version`` is the resourceVersion of that.
        news: reported by the activation, not in a write yet.
        writing: what the write in flight carries, or None when there is none.
        deferred: newest object seen while a write was in flight.
        seen_retries: what its spec asked for when it was last seen to live.
        must_verify: it may have left the selection while a write was in flight.
        has_history: pages of its memo that were missing are back.
        was_found: it may have children that are not known here: somebody else may have started it before it came here,
            or one of them was moved away.
        children: child name -> step id, for children whose outcome the activation waits for.
        asked_children: uid of a child -> retries that were asked of it: an end before that is not what it waits for.
        awaited: while it is dormant: names of the children that it waits for.
        unwanted: names of children that were canceled while they were being created.
        is_parent_unchecked: its parent may have ended: that is being looked up, and it does not run before.
        timers: step ids whose firing the activation waits for.
        polls: step id -> condition that is looked at now and then.
        suspensions: step id -> what the activation waits for.
        ends_of_waits: name of a Suspension -> when it was to end, of those that may have been deleted meanwhile.
        told_suspensions: the same for those whose end it was told: it may refuse a payload.
        jobs: step id -> Job or Pod that the activation waits for.
        known_jobs: kind and name of Jobs and Pods that are known to have been there, with the attempt that had them.
        unwanted_jobs: names of those that nobody waits for any more.
        cancel_message: why its parent no longer wants it, or empty.
        grant: resourceVersion of the Lease that gave it its mutex; 0 while it has none.
        room_wait: its wait for a runner, or for its turn to be claimed; None while it runs or waits for something else.

    One that waits without an activation can be folded: see ``FoldedEntry``.
    """

    is_folded: ClassVar[bool] = False
    folded: bytes

    __slots__ = (
        "activation",
        "annotations",
        "asked_children",
        "awaited",
        "cancel_message",
        "children",
        "created_at_ms",
        "deferred",
        "ends_of_waits",
        "folded",
        "grant",
        "has_history",
        "inheritance",
        "is_parent_unchecked",
        "jobs",
        "known_jobs",
        "labels",
        "memo",
        "must_verify",
        "name",
        "news",
        "parent_name",
        "parent_uid",
        "polls",
        "rest",
        "room_wait",
        "seen_retries",
        "spec",
        "status",
        "suspensions",
        "timers",
        "told_suspensions",
        "uid",
        "unwanted",
        "unwanted_jobs",
        "version",
        "was_found",
        "writing",
    )

    def __init__(self, execution: Execution, *, inherited: bool) -> None:
        meta = execution.metadata
        self.name = meta.name
        self.uid = meta.uid
        self.labels = meta.labels
        self.annotations = meta.annotations
        self.created_at_ms = int(meta.creation_timestamp.timestamp() * 1000) if meta.creation_timestamp else 0
        parent = parent_of(meta.owner_references)
        self.parent_name = parent.name if parent else ""
        self.parent_uid = parent.uid if parent else ""
        self.spec, self.status = without_answer(execution)
        self.version = meta.resource_version
        self.seen_retries = 0
        self.see(execution)
        self.memo = MemoBytes()
        self.activation: Activation | None = None
        self.news: News = NO_NEWS
        self.writing: News | None = None
        self.deferred: Execution | None = None
        self.must_verify = False
        self.has_history = False
        self.was_found = inherited
        self.children: dict[str, str] = {}
        self.asked_children: dict[str, int] = {}
        self.awaited: frozenset[str] = frozenset()
        self.unwanted: set[str] = set()
        self.timers: set[str] = set()
        self.polls: dict[str, Poll] = {}
        self.suspensions: dict[str, AwaitedSuspension] = {}
        self.ends_of_waits = {
            item.name: ms_of(item.until)
            for item in execution.status.waiting_for
            if item.kind == "Suspension" and item.until is not None
        }
        self.told_suspensions: dict[str, AwaitedSuspension] = {}
        self.jobs: dict[str, AwaitedJob] = {}
        self.known_jobs = {
            (item.kind, item.name): next_attempt(execution.status)
            for item in execution.status.waiting_for
            if item.kind in JOB_KINDS and item.message != UNCREATED_MESSAGE
        }
        self.unwanted_jobs: set[str] = set()
        self.inheritance = Inheritance.WAITING if inherited else Inheritance.NONE
        self.is_parent_unchecked = False
        self.rest = Rest.AWAKE
        self.cancel_message = ""
        self.grant = 0
        self.room_wait: RoomWait | None = None

    def fold(self) -> None:
        """Put away what is not needed before it wakes, unless something goes on here."""
        is_quiet = self.activation is None and self.writing is None and self.deferred is None and self.news == NO_NEWS
        if not is_quiet or parse_memo(self.status.state, self.status.memo_pages) != self.memo:
            return  # a memo that is not what the status says would come back as another one
        self.folded = fold(Folded(**{name: getattr(self, name) for name in Folded.__struct_fields__}))
        for name in ("memo", *Folded.__struct_fields__, *(name for name in _COLLECTIONS if not getattr(self, name))):
            delattr(self, name)
        self.__class__ = FoldedEntry

    def unfold(self) -> None:
        """Take back what was put away; idempotent."""

    def see(self, execution: Execution) -> None:
        """Note what matters of a state of it even if a later one takes its place unread."""
        if not execution.phase.is_terminal:
            self.seen_retries = asked_for(execution.spec)

    @property
    def is_unclaimed(self) -> bool:
        """Whether nobody has started it, or not since it was retried, and it may be started here without a claim."""
        return self.inheritance is Inheritance.NONE and not has_begun(self.status)

    def awaits(self, child: str) -> bool:
        """Tell whether it waits for a child; one that is not dormant asks again for each when it replays."""
        return child in self.children or (self.rest is Rest.DORMANT and child in self.awaited)

    def end_room_wait(self) -> None:
        """It has its runner, or needs none any more; idempotent."""
        if self.room_wait is not None:
            self.room_wait.is_over = True
            self.room_wait = None

    @property
    def log_fields(self) -> dict[str, object]:
        """What each log line about it says."""
        attempt = max(1, self.status.attempt_count) if self.activation is None else self.activation.attempt
        return {"execution": self.name, "uid": self.uid, "attempt": attempt}

    @property
    def root(self) -> str:
        """Label value that names the root of its tree."""
        return self.labels.get(labels.ROOT) or labels.label_value(self.name)

    @property
    def deaths(self) -> int:
        """How many replicas died that it was assigned to."""
        return deaths_of(self.annotations)

    @property
    def is_losing(self) -> bool:
        """Whether its activation is gone, and that is not dealt with yet."""
        return self.news.lost is not None or (self.writing is not None and self.writing.lost is not None)

    @property
    def has_ended(self) -> bool:
        """Whether its activation has ended, one way or the other, and that is not dealt with yet."""
        news = (self.news, self.writing or NO_NEWS)
        return self.is_losing or any(one.outcome is not None for one in news)

    @property
    def is_active(self) -> bool:
        """Whether its user code runs now."""
        activation = self.activation
        return (
            activation is not None
            and activation.running_since_ms is not None
            and activation.parked_since_ms is None
            and not self.is_losing
        )


_COLLECTIONS: Final[Mapping[str, Callable[[], object]]] = {
    "asked_children": dict,
    "awaited": frozenset,
    "children": dict,
    "jobs": dict,
    "known_jobs": dict,
    "polls": dict,
    "suspensions": dict,
    "timers": set,
    "told_suspensions": dict,
    "unwanted": set,
    "unwanted_jobs": set,
}


class FoldedEntry(Entry):
    """An ``Entry`` without its memo, what is in ``Folded`` and what is empty of ``_COLLECTIONS``.

    Whoever asks for any of that makes it an ``Entry`` again. A class of its own, so that others pay nothing for that.
    """

    __slots__ = ()
    is_folded = True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Python asks here for attributes that have no value."""
            self.unfold()
            return getattr(self, name)

    def fold(self) -> None:
        """It is folded."""

    def unfold(self) -> None:
        """Take back what was put away."""
        content = unfold(self.folded)
        self.__class__ = Entry  # type: ignore[assignment] # only the other way round it would be narrower
        for name in Folded.__struct_fields__:
            setattr(self, name, getattr(content, name))
        self.memo = parse_memo(self.status.state, self.status.memo_pages)
        for name, make in _COLLECTIONS.items():
            if not hasattr(self, name):
                setattr(self, name, make())
        del self.folded


class Tombstones:
    """Uids of Executions that ended here, until no older event of them can come any more."""

    def __init__(self) -> None:
        self._uids: dict[str, int] = {}
        self._in_order: deque[tuple[int, str]] = deque()
        self._seen = 0

    def covers(self, uid: str, version: int) -> bool:
        """Tell whether this version of an Execution is none that came after its end here."""
        return version <= self._uids.get(uid, -1)

    def __len__(self) -> int:
        return len(self._uids)

    @property
    def seen(self) -> int:
        """Newest resourceVersion that the watch or a list has shown."""
        return self._seen

    def add(self, uid: str, version: int) -> None:
        """Note that ``version`` is the last that matters of this Execution."""
        if version > self._seen:
            self._uids[uid] = version
            self._in_order.append((version, uid))

    def advance(self, version: int) -> None:
        """The watch has shown ``version``; it shows versions in order, so nothing older comes after it."""
        self._seen = max(self._seen, version)
        while self._in_order and self._in_order[0][0] <= self._seen:
            self._uids.pop(self._in_order.popleft()[1], None)


def without_answer(execution: Execution) -> tuple[ExecutionSpec, ExecutionStatus]:
    """Return spec and status such that they do not keep all of the answer, or list, that they were read from."""
    spec, status = execution.spec, execution.status
    spec = msgspec.structs.replace(spec, arguments=spec.arguments.copy())
    if status.state is msgspec.UNSET and status.result is msgspec.UNSET:
        return spec, status
    state = status.state if status.state is msgspec.UNSET else status.state.copy()
    result = status.result if status.result is msgspec.UNSET else status.result.copy()
    return spec, msgspec.structs.replace(status, state=state, result=result)


class EntryStore:
    """Entries by uid, by name, by activation and by parent."""

    def __init__(self) -> None:
        self.tombstones = Tombstones()
        self._by_uid: dict[str, Entry] = {}
        self._by_name: dict[str, Entry] = {}
        self._by_activation: dict[int, Entry] = {}
        self._children: dict[str, dict[str, Entry]] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._by_uid.values()))

    def __contains__(self, entry: Entry) -> bool:
        return self._by_uid.get(entry.uid) is entry

    def get(self, uid: str) -> Entry | None:
        """Return the entry of that uid, or None."""
        return self._by_uid.get(uid)

    def by_name(self, name: str) -> Entry | None:
        """Return the entry of that name, or None."""
        return self._by_name.get(name)

    def by_activation(self, number: int) -> Entry | None:
        """Return the entry that the activation belongs to; None when it has been forgotten."""
        return self._by_activation.get(number)

    def children_of(self, uid: str) -> list[Entry]:
        """Return the live children of the Execution with that uid."""
        return list(self._children.get(uid, {}).values())

    def add(self, entry: Entry) -> None:
        """Add a new entry; there is none of its uid or name."""
        self._by_uid[entry.uid] = entry
        self._by_name[entry.name] = entry
        if entry.parent_uid:
            self._children.setdefault(entry.parent_uid, {})[entry.uid] = entry

    def remove(self, entry: Entry) -> None:
        """Drop an entry, and its activation with it; idempotent."""
        self.forget_activation(entry)
        if entry not in self:
            return
        del self._by_uid[entry.uid]
        if self._by_name.get(entry.name) is entry:
            del self._by_name[entry.name]
        siblings = self._children.get(entry.parent_uid)
        if siblings is not None:
            siblings.pop(entry.uid, None)
            if not siblings:
                del self._children[entry.parent_uid]
        self.tombstones.add(entry.uid, version_number(entry.version))

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
        entry.polls = {step: msgspec.structs.replace(poll, is_awaited=False) for step, poll in entry.polls.items()}
        entry.suspensions.clear()
        entry.told_suspensions.clear()
        entry.jobs.clear()


def version_number(version: str) -> int:
    """Return a resourceVersion as a number; versions of one resource type are ordered (Kubernetes 1.35 promises it)."""
    return int(version or 0)
