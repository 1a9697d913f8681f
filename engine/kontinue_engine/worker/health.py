"""Internal. What a kubelet's probes are told: ``/livez`` and ``/readyz``, 200 or 503, and why in one line.

Live: the loop answers, and the Lease is not somebody else's. A worker that cannot reach the API server is fenced, but
lives: to start it anew would lose what it has in memory and help nobody. Ready: it works on Executions, or stands by
while others run what it would run; otherwise a rolling update would wait for it for ever.
``replica`` serves it with ``pages`` and says how far it is.
"""

from __future__ import annotations

import enum
from typing import Protocol

from kontinue_engine.sharding.tenure import Standing
from kontinue_engine.worker.pages import Page, Pages


class Stage(enum.Enum):
    """How far a replica is. The value says it to people."""

    STARTING = "it is starting: loading the app, taking its Lease, or listing its Executions"
    STANDING_BY = "it stands by: another replica of the group runs everything"
    WORKING = "it works"
    DRAINING = "it is stopping"


class Holder(Protocol):
    """Somebody with a Lease."""

    @property
    def standing(self) -> Standing:
        """What it may do now."""
        ...


class Health:
    """What a replica knows about itself: ``stage``, and once it wants one, ``lease``."""

    def __init__(self) -> None:
        self.stage = Stage.STARTING
        self.lease: Holder | None = None

    @property
    def standing(self) -> Standing:
        """What it may do by its Lease."""
        return Standing.WAITING if self.lease is None else self.lease.standing


def why_not_live(standing: Standing) -> str:
    """Return why the process should be started anew; empty if it should not."""
    return "its Lease is lost" if standing is Standing.LOST else ""


def why_not_ready(stage: Stage, standing: Standing) -> str:
    """Return why it does no work; empty if it does, or stands by as it should."""
    if stage is Stage.STANDING_BY:
        return ""
    if stage is not Stage.WORKING:
        return str(stage.value)
    if standing is Standing.FENCED:
        return "it is fenced: its Lease could not be renewed in time"
    return "" if standing is Standing.WRITING else "it holds no Lease"


def pages_of(health: Health) -> Pages:
    """Return what is told at the path of each probe."""
    return {
        "/livez": lambda: _page(why_not_live(health.standing)),
        "/readyz": lambda: _page(why_not_ready(health.stage, health.standing)),
    }


def _page(problem: str) -> Page:
    return Page(status=503, text=f"{problem}\n") if problem else Page(text="ok\n")
