"""Internal. What a pool is told (``PoolOptions``), whom it tells (``PoolListener``), what it shows (``RunnerInfo``).

Plain data and a Protocol: ``worker`` builds options, ``controllers`` implement the listener, ``pool.pool`` uses both.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from kontinue_engine.wire import frames

Colour = Literal["sync", "async"]


class LostReason(enum.StrEnum):
    """Why an activation is gone without having ended."""

    RUNNER_CRASHED = "RunnerCrashed"
    OUT_OF_MEMORY = "OutOfMemory"
    EVICTED = "Evicted"


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a pool.

    Attributes:
        app: ``module:attribute`` of the user's App.
        app_dir: folder that goes first on ``sys.path``.
        sync_runners: None means one per usable CPU.
        memory_limit_bytes: a runner that uses more is killed (shared pages count in part); None means its part of the
            container's limit, if there is one.
        recycle_after: a runner that has started so many activations is drained and replaced; None means never.
        recycle_above_bytes: a runner that uses more (counted alike) is drained and replaced; None means a part of the
            limit.
        max_active: so many activations at most are given to runners while others are active there; None for no limit.
        nice: of runners; below 10 two busy ones take half of the supervisor's throughput.
        env: added to the environment of zygote and runners.
    """

    app: str
    app_dir: str = "."
    sync_runners: int | None = None
    async_runners: int = 1
    memory_limit_bytes: int | None = None
    recycle_after: int | None = None
    recycle_above_bytes: int | None = None
    max_active: int | None = None
    nice: int = 10
    env: Mapping[str, str] = {}


class RunnerState(enum.StrEnum):
    """What a runner is about."""

    STARTING = "Starting"
    READY = "Ready"
    DRAINING = "Draining"
    ENDED = "Ended"


class RunnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A runner as shown to people. ``pid`` is 0 until it is forked; ``activations`` are those that it holds."""

    pid: int
    colour: Colour
    activations: tuple[int, ...]
    state: RunnerState


class PoolListener(Protocol):
    """Callbacks on the supervisor's loop. They must not block or raise (see ``Pool.run``), and may call the pool."""

    def on_frame(self, frame: frames.RunnerEvent) -> None:
        """An event of an activation that the pool knows. After one that ends it, the pool has forgotten it."""
        ...

    def on_lost(self, activation: int, *, was_active: bool, was_alone: bool, reason: LostReason, message: str) -> None:
        """An activation is gone without having ended; the pool has forgotten it.

        Args:
            activation: its number.
            was_active: it may be to blame: its code or a step of it was running, or was the next thing to start.
            was_alone: no other activation can be to blame.
            reason: a ``StrEnum``: compares equal to its text.
            message: for people, for example ``the runner was killed by SIGKILL``.
        """
        ...

    def on_log(self, runner_pid: int, frame: frames.LogLine) -> None:
        """A line of output or logging; ``activation`` is 0 if it belongs to none, or the pool cannot tell."""
        ...
