"""The API server of pure worlds, and the way to it: objects as the product's own structs, nothing is encoded.

``Cluster`` stores, with resourceVersions; ``Feed`` is one watch; ``Wire`` carries requests, and loses, repeats, delays
and refuses them. Both sides are plain calls on the timeline: a request is a function that the server runs.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from timeline import Timeline

from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTIONS, LEASES = "executions", "leases"
replaced = msgspec.structs.replace


class RefusedError(Exception):
    """404 or 409: it is not there, it is there already, or somebody else wrote first."""


class UnansweredError(Exception):
    """Nothing came back in time, or 429: it may have been done, or may be done later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One accepted write; ``old`` is None for a create, ``new`` for a deletion."""

    kind: str
    old: Any
    new: Any
    who: Any


class Cluster:
    """Objects, by kind and name.

    Args:
        timeline: tells the time of creation.
        on_change: judges each accepted write.
    """

    def __init__(self, timeline: Timeline, on_change: Callable[[Change], None]) -> None:
        self.executions: dict[str, Execution] = {}
        self.leases: dict[str, Lease] = {}
        self.feeds: dict[Feed, None] = {}
        self.version = 1
        self._timeline = timeline
        self._on_change = on_change

    def create_execution(self, execution: Execution) -> None:
        """A client creates it."""
        created = EPOCH + timedelta(seconds=int(self._timeline.now_s))
        metadata = replaced(execution.metadata, uid=f"uid-{execution.metadata.name}", creation_timestamp=created)
        self._store(EXECUTIONS, None, replaced(execution, metadata=metadata), None)

    def patch_labels(self, name: str, patch: dict[str, Any], who: Any) -> Execution:
        """Merge labels and annotations, if a resourceVersion in the patch is the stored one."""
        old = self.executions[name]
        changes = patch["metadata"]
        self._compare(old, changes.get("resourceVersion", ""))
        found = {**old.metadata.labels, **changes.get("labels", {})}
        notes = {**old.metadata.annotations, **changes.get("annotations", {})}
        metadata = replaced(
            old.metadata,
            labels={key: value for key, value in found.items() if value is not None},
            annotations={key: value for key, value in notes.items() if value is not None},
        )
        return self._store(EXECUTIONS, old, replaced(old, metadata=metadata), who)  # type: ignore[no-any-return]

    def put_spec(self, name: str, spec: ExecutionSpec) -> None:
        """A client changes what may change of a spec."""
        old = self.executions[name]
        self._store(EXECUTIONS, old, replaced(old, spec=spec), None)

    def put_status(self, name: str, version: str, status: ExecutionStatus, who: Any) -> Execution:
        """Replace a status."""
        old = self.executions[name]
        self._compare(old, version)
        return self._store(EXECUTIONS, old, replaced(old, status=status), who)  # type: ignore[no-any-return]

    def create_lease(self, lease: Lease, who: Any) -> Lease:
        """Create a Lease that is not there."""
        if lease.metadata.name in self.leases:
            raise RefusedError(f"{lease.metadata.name} exists")
        metadata = replaced(lease.metadata, uid=f"lease-{self.version}")
        return self._store(LEASES, None, replaced(lease, metadata=metadata), who)  # type: ignore[no-any-return]

    def replace_lease(self, lease: Lease, who: Any) -> Lease:
        """Replace a Lease; without a resourceVersion whatever it is now."""
        old = self.leases.get(lease.metadata.name)
        if old is None:
            raise RefusedError(f"{lease.metadata.name} is gone")
        self._compare(old, lease.metadata.resource_version)
        return self._store(LEASES, old, lease, who)  # type: ignore[no-any-return]

    def delete_lease(self, lease: Lease, who: Any) -> None:
        """Delete a Lease if it still is what was seen."""
        old = self.leases.get(lease.metadata.name)
        if old is None or old.metadata.uid != lease.metadata.uid:
            raise RefusedError(f"{lease.metadata.name} is gone")
        self._compare(old, lease.metadata.resource_version)
        del self.leases[lease.metadata.name]
        self.version += 1
        gone = replaced(old, metadata=replaced(old.metadata, resource_version=str(self.version)))
        self._tell(Change(LEASES, gone, None, who))

    def attach(self, feed: Feed) -> None:
        """List, and watch from there."""
        stored: dict[str, Any] = getattr(self, feed.kind)
        self.feeds[feed] = None
        feed.push("LIST", [one for one in stored.values() if feed.selects(one)])

    def _compare(self, old: Any, version: str) -> None:
        if version and version != old.metadata.resource_version:
            raise RefusedError(f"{old.metadata.name} has changed")

    def _store(self, kind: str, old: Any, new: Any, who: Any) -> Any:
        self.version += 1
        stored = replaced(new, metadata=replaced(new.metadata, resource_version=str(self.version)))
        getattr(self, kind)[stored.metadata.name] = stored
        self._tell(Change(kind, old, stored, who))
        return stored

    def _tell(self, change: Change) -> None:
        for feed in self.feeds:
            if feed.kind == change.kind:
                feed.tell(change)
        self._on_change(change)


class Feed:
    """One list and watch of one replica, in the server's order; it may break, and begins with a list again.

    Args:
        wire: brings it.
        replica: whose it is.
        kind: of the objects.
        selects: which of them.
        handler: has the methods of ``kontinue_engine.kube.informer.InformerHandler``.
    """

    def __init__(
        self, wire: Wire, replica: Any, kind: str, selects: Callable[[Any], bool], handler: Any, *, after: Any = None
    ) -> None:
        self.kind = kind
        self.selects = selects
        self.replica = replica
        self.free_at_s = 0.0
        self.is_closed = False
        self._wire = wire
        self._handler = handler
        self._after = after
        self._generation = 0
        self._has_listed = False
        self.connect()

    def connect(self) -> None:
        """Ask for the list; tried again until it is reached."""
        wire = self._wire
        if self.is_closed or self.replica.is_dead:
            return
        if self.replica in wire.cut or wire.rng.random() < wire.weather.lost_requests + wire.weather.busy:
            wire.timeline.after(wire.rng.uniform(0.5, 3.0), self.connect)
        else:
            wire.cluster.attach(self)

    def tell(self, change: Change) -> None:
        """The server has accepted a write."""
        is_ = change.new is not None and self.selects(change.new)
        was = change.old is not None and self.selects(change.old)
        if is_:
            self.push("MODIFIED" if was else "ADDED", change.new)
        elif was:
            self.push("DELETED", change.new or change.old)

    def push(self, type_: str, what: Any) -> None:
        """Send it to the replica, after what was sent before."""
        wire = self._wire
        at_s = max(self.free_at_s, wire.timeline.now_s + wire.rng.random() * 2 * wire.weather.watch_lag_s)
        self.free_at_s = at_s
        wire.timeline.at(at_s, self._arrive, type_, what, self._generation)

    def break_off(self) -> None:
        """The connection is lost with all that is under way."""
        self._wire.cluster.feeds.pop(self, None)
        self._generation += 1
        self._wire.timeline.after(self._wire.rng.choice([0.01, 1.0, self._wire.rng.uniform(0, 20)]), self._reconnect)

    def close(self) -> None:
        """Nobody wants it any more."""
        self.is_closed = True
        self._generation += 1
        self._wire.cluster.feeds.pop(self, None)

    def _reconnect(self) -> None:
        if self not in self._wire.cluster.feeds:
            self.connect()

    def _arrive(self, type_: str, what: Any, generation: int) -> None:
        if generation == self._generation:
            self.replica.enter(self._take, type_, what)

    def _take(self, type_: str, what: Any) -> None:
        if self.is_closed:
            return
        if type_ == "LIST":
            is_initial, self._has_listed = not self._has_listed, True
            self._handler.on_list(what, initial=is_initial)
        else:
            self._handler.on_event(type_, what)
        if self._after is not None:
            self._after()


@dataclasses.dataclass(frozen=True)
class Weather:
    """Probabilities, and seconds."""

    lost_requests: float = 0.0
    lost_answers: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    busy: float = 0.0
    slow_s: float = 0.004
    watch_lag_s: float = 0.01


class Wire:
    """Carries requests.

    Attributes:
        weather: what it is like now.
        cut: replicas that reach nobody.
    """

    LATE_S = 30.0

    def __init__(self, timeline: Timeline, cluster: Cluster, rng: random.Random) -> None:
        self.weather = Weather()
        self.cut: set[Any] = set()
        self.timeline = timeline
        self.cluster = cluster
        self.rng = rng
        self.requests = 0

    def ask(self, replica: Any, act: Callable[[], Any], then: Callable[[Any, Exception | None], None]) -> None:
        """Have the server do something; ``then`` is called once, with the answer or with what went wrong."""
        self.requests += 1
        weather, rng, timeline = self.weather, self.rng, self.timeline
        if replica in self.cut or rng.random() < weather.late:
            if rng.random() < 0.5:
                timeline.after(rng.uniform(0, self.LATE_S), _try, act)
            timeline.after(rng.uniform(0, 4.0), replica.enter, then, None, UnansweredError("late"))
        elif rng.random() < weather.busy:
            timeline.after(rng.uniform(0.5, 2.0), replica.enter, then, None, UnansweredError("429"))
        else:
            timeline.after(rng.random() * weather.slow_s, self._arrive, replica, act, then)

    def _arrive(self, replica: Any, act: Callable[[], Any], then: Callable[[Any, Exception | None], None]) -> None:
        weather, rng, timeline = self.weather, self.rng, self.timeline
        error: Exception | None = None
        answer: Any = None
        if rng.random() < weather.lost_requests:
            error = UnansweredError("lost")
        else:
            answer, error = _try(act)
            if rng.random() < weather.repeated:
                timeline.after(rng.uniform(0, 5.0), _try, act)
            if rng.random() < weather.lost_answers or replica in self.cut:
                answer, error = None, UnansweredError("lost")
        timeline.after(rng.random() * (weather.slow_s if not error else 3.0), replica.enter, then, answer, error)

    def feeds_of(self, replica: Any = None) -> Sequence[Feed]:
        """Return the watches that work, of one replica or of all."""
        return [feed for feed in self.cluster.feeds if replica is None or feed.replica is replica]


def _try(act: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return act(), None
    except RefusedError as error:
        return None, error
