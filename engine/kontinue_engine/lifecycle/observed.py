"""Internal. What is known about one Execution at one moment: the frozen input of ``decide``.

Built by ``controllers.execution`` from its store, without an API read. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import ExecutionDefaults, ExecutionSpec, ExecutionStatus, Phase
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.wire.frames import Completed, EncodedRecord, Failed, Interrupted, Mismatched, WaitingItem

ALONE_EPOCH: Final = 1
"""Of what a group that is not sharded starts without a claim."""
SHARDED_EPOCH: Final = 2
"""Of what a sharded one starts so. It may have been started before the group was sharded, and nothing written of it."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """This replica, and the rules it works by.

    Attributes:
        shard: shard id.
        incarnation: random id of this process.
        build: digest of the user's code.
        executing_after_ms: from dispatch until phase Executing is written (design.md section 7).
        parking_ms: a wait longer than this is written as Suspended.
        crash_budget: runner deaths without a new record that an Execution survives.
        cancel_grace_ms: time that user code has to clean up before its runner is killed.
        first_epoch: of what is started without a claim; a claim of what has no owner yet has a higher one than all.
    """

    shard: str
    incarnation: str
    build: str
    executing_after_ms: int = 50
    parking_ms: int = 5_000
    crash_budget: int = 3
    cancel_grace_ms: int = 5_000
    first_epoch: int = ALONE_EPOCH


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A run of user code in a runner, as last reported.

    Attributes:
        number: the activation's number on the wire.
        attempt: which one it is a part of.
        resumption: which re-entry of the attempt this is; 0 for the first.
        running_since_ms: when user code first ran; None while it is queued.
        parked_since_ms: since when it waits, with what looks it took in between; None while it is active.
        looks_since_ms: it was woken only to see whether the condition of a poll holds: when; else None.
        waited_since_ms: of a look: since when it waited before.
        waiting_for: the first few of what it waits for, while parked.
        more: how many others it waits for.
        has_step: a step of it runs in the runner while it is parked: it would be lost with the runner.
        told: how often it was sent something that it waits for.
        heard: how much of that it had got when it parked; the rest would be lost with the runner.
        stopping_since_ms: when it was told to stop, or None.
    """

    number: int
    attempt: int = 1
    resumption: int = 0
    running_since_ms: int | None = None
    parked_since_ms: int | None = None
    looks_since_ms: int | None = None
    waited_since_ms: int | None = None
    waiting_for: tuple[WaitingItem, ...] = ()
    more: int = 0
    has_step: bool = False
    told: int = 0
    heard: int = 0
    stopping_since_ms: int | None = None


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """An activation ended with its runner.

    Attributes:
        was_active: its code was running.
        was_alone: no other code was: it is to blame.
    """

    was_active: bool
    was_alone: bool = True
    reason: str
    message: str


EVICTED: Final = "Evicted"
"""Reason of a ``Lost`` that is the pool's own doing: not a crash."""

HISTORY_INCOMPLETE: Final = "HistoryIncomplete"
"""Reason of an Execution that is Blocked because a MemoPage is missing, and not because of its code."""


class HistoryIncomplete(msgspec.Struct, frozen=True):
    """An activation was not begun: what it would replay is not whole."""

    message: str


Outcome = Completed | Failed | Mismatched | Interrupted | HistoryIncomplete


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What an activation has reported that is not in the stored status yet.

    Attributes:
        records: in ``seq`` order.
        flush: highest flush asked for; 0 for none.
        timers_started: step id -> wake time.
        given_up: step ids of timers, and of what had been recorded to be held before the program heard of it.
        begun: step id -> what is known to be there of it (``MemoBytes.begun``); nobody waits for that to be written.
        arguments: JSON of the effective arguments, if they differ from those of the spec.
        outcome: how it ended.
        lost: that it died with its runner.
    """

    records: tuple[EncodedRecord, ...] = ()
    flush: int = 0
    timers_started: Mapping[str, int] = {}
    given_up: tuple[str, ...] = ()
    begun: Mapping[str, str] = {}
    arguments: bytes = b""
    outcome: Outcome | None = None
    lost: Lost | None = None

    def merged(self, later: News) -> News:
        """Return both as one: what was not persisted, and what has come since."""
        return News(
            records=self.records + later.records,
            flush=max(self.flush, later.flush),
            timers_started={**self.timers_started, **later.timers_started},
            given_up=self.given_up + later.given_up,
            begun={**self.begun, **later.begun},
            arguments=self.arguments or later.arguments,
            outcome=later.outcome or self.outcome,
            lost=later.lost or self.lost,
        )

    @property
    def needs_write(self) -> bool:
        """Whether somebody waits for these facts to be durable."""
        return bool(self.flush or self.timers_started)


NO_NEWS: Final = News()


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an Execution needs before it may run, and that others have.

    Attributes:
        kind: ``Mutex`` or ``Function``, as in ``status.waitingFor``.
        name: of the mutex or the function.
        message: who has it.
        tell_from_ms: only if it waits until then, it is told so in its status.
        refusal: reason to fail instead, because it would wait for ever; empty otherwise.
    """

    kind: str
    name: str
    message: str
    tell_from_ms: int
    refusal: str = ""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A Suspension, Job or Pod that an activation waits for.

    Attributes:
        name: of the object.
        until_ms: when it ends by itself; None for never.
        is_sleep: nobody has to do anything.
        exists: the object has been created, as far as is known: who is told of it finds it.
        kind: of the object.
        message: why it takes so long, for people.
    """

    name: str
    until_ms: int | None
    is_sleep: bool
    exists: bool = True
    kind: str = "Suspension"
    message: str = ""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One Execution.

    Attributes:
        uid: identity.
        defaults: of its function, as this worker's app has them.
        inherited: found by listing at start-up: a predecessor may have started it, so that it must be claimed.
        is_admitted: an inherited one may be claimed now; a claim before its turn would charge it for crashes that are
            not its own.
        lost_by: incarnation of the replica that died with it; empty if none did, or it stopped in order.
        owner_lives: the replica that had it last runs: it was moved by hand.
        deaths: how many replicas died that it was assigned to; counts only while nothing of it was ever written.
        seen_retries: what its spec asked for when it was last seen to live.
        obstacle: what keeps it from being started; None if nothing does.
        grant: resourceVersion of the write that gave it its mutex; 0 without one.
        is_held_up: it has waited for a runner for so long that it is to be told.
        function_known: this worker's app has the function.
        function_owner: worker group that has it otherwise; empty if none has.
        group: worker group of its label.
        is_deaf: its code cannot notice a cancel: a sync function without a context.
        cancel_message: why its parent no longer wants it; empty while it does.
        dormant: it waits without an activation (evicted): only a wake dispatches it.
        woken: something that it waited for has happened while it was dormant.
        seen_retries: what its spec asked for when it was last seen to live.
        has_history: the pages that were missing are back.
        waits: step id -> Suspension, Job or Pod that its activation waits for.
    """

    spec: ExecutionSpec
    status: ExecutionStatus
    memo: MemoBytes
    created_at_ms: int
    uid: str = ""
    defaults: ExecutionDefaults | None = None
    activation: Activation | None = None
    news: News = NO_NEWS
    inherited: bool = False
    is_admitted: bool = True
    lost_by: str = ""
    owner_lives: bool = False
    deaths: int = 0
    seen_retries: int = 0
    obstacle: Obstacle | None = None
    grant: int = 0
    is_held_up: bool = False
    function_known: bool = True
    function_owner: str = ""
    group: str = ""
    is_deaf: bool = False
    cancel_message: str = ""
    dormant: bool = False
    woken: bool = False
    has_history: bool = False
    waits: Mapping[str, Wait] = {}

    @property
    def phase(self) -> Phase:
        """The stored phase."""
        return self.status.phase or Phase.PENDING
