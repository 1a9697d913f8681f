"""Internal. What ``kontinue doctor`` has seen, as values: filled by ``observing``, judged by the checks. Pure.

A part that could not be read is None, and ``refusals`` says why; a list that was cut is named in ``cut``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from kontinue.api.konductor import group
from kontinue.api.meta import Lease, ObjectMeta
from kontinue.api.rights import Right, Role
from kontinue.api.v1alpha1 import Function, Phase, ScheduledExecution, Suspension, WaitingFor


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and how it was found.

    Attributes:
        address: without the path, which is secret for a local server.
        source: what named it.
        namespace: empty for all.
        api_group: of the primitives that are looked at.
        latency_s: of the fastest of some requests.
    """

    address: str
    source: str
    namespace: str
    api_group: str = group.GROUP
    version: str = ""
    latency_s: float = 0.0

    @property
    def group_option(self) -> str:
        """What a command line needs beside, to be about that group."""
        return "" if self.api_group == group.GROUP else f" --api-group {self.api_group}"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to the server, and what its clock said between two looks at ours."""

    user: str
    server_time: datetime
    asked_at: datetime
    answered_at: datetime


class ExecutionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a live Execution; the rest of it is forgotten, because it may be large."""

    name: str
    namespace: str
    uid: str
    function: str
    group: str
    phase: Phase
    created: datetime | None
    message: str
    waiting_for: tuple[WaitingFor, ...]
    crashes: int
    size: int


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a worker's Pod from running, as its status says.

    Attributes:
        problem: why it does not run, or is not started; empty if it does.
        restarts: of its container.
        last_exit: exit code of the run before; None if there was none.
    """

    name: str
    namespace: str
    created: datetime | None
    phase: str
    problem: str = ""
    restarts: int = 0
    last_exit: int | None = None


class WaitGroupFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a WaitGroup.

    Attributes:
        holders: how many Pods and Executions hold a part of its counter.
        held: what they hold together.
    """

    name: str
    namespace: str
    holders: int
    held: int


class PrimitiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a lock, a Semaphore or the like.

    Attributes:
        noun: what command lines call it.
        needs: what nobody does for it where no coordinator works; empty if it needs none.
        is_seen: whether a coordinator has looked at it; also where that leaves no trace.
        holder: of a lock that has no end: neither a ttl, nor a Pod or an Execution that it is bound to.
        held_since: since when that is held.
    """

    plural: str
    noun: str
    name: str
    namespace: str
    created: datetime | None
    needs: str = ""
    is_seen: bool = True
    holder: str = ""
    held_since: datetime | None = None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen.

    Attributes:
        rights: what we may do, by right.
        kinds: CustomResourceDefinitions by name: None for one that is not there.
        primitives: all but WaitGroups, as far as they could be read.
        coordinators: Leases of those who look after them.
        sees_all_coordinators: whether those of other namespaces are among them.
        now: by the server's clock, as far as that is known.
        now_s: monotonic, for books of Leases.
        refusals: part -> why it could not be read; ``server`` and ``credentials`` stand for everything.
        cut: part -> how many were looked at, where there are more.
    """

    server: ServerFacts
    now: datetime
    now_s: float
    identity: Identity | None = None
    rights: Mapping[Right, bool] | None = None
    roles: Sequence[Role] = ()
    kinds: Mapping[str, Mapping[str, Any] | None] | None = None
    leases: Sequence[Lease] | None = None
    functions: Sequence[Function] | None = None
    pods: Sequence[PodFacts] | None = None
    suspensions: Sequence[Suspension] | None = None
    executions: Sequence[ExecutionFacts] | None = None
    schedules: Sequence[ScheduledExecution] | None = None
    archives: Sequence[ObjectMeta] | None = None
    wait_groups: Sequence[WaitGroupFacts] | None = None
    primitives: Sequence[PrimitiveFacts] = ()
    coordinators: Sequence[Lease] | None = None
    sees_all_coordinators: bool = False
    refusals: Mapping[str, str] = {}
    cut: Mapping[str, int] = {}

    def named(self, metadata_namespace: str, name: str, plural: str) -> str:
        """Return how findings name an object: with its namespace where several are looked at."""
        return f"{plural}/{name}" if self.server.namespace else f"{plural}/{metadata_namespace}/{name}"
