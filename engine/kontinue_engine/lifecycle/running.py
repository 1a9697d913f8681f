"""Internal. It runs: persist what it reported, and say what it waits for. Pure; a part of ``decide``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import Phase, WaitingFor
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, Observed, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import NOTHING, Plan
from kontinue_engine.lifecycle.statuses import extended, written
from kontinue_engine.lifecycle.times import time_of

MAX_WAITING_FOR: Final = 10
"""Entries of ``status.waitingFor``: enough to explain, few enough to stay small (judgement)."""


def progress(observed: Observed, worker: Worker, now_ms: int, activation: Activation) -> Plan:
    """Persist what it reported, and say what it waits for."""
    if activation.running_since_ms is None:
        return NOTHING
    news = observed.news
    memo = extended(observed.memo, news, worker)
    phase, is_due, again_ms = _wanted_phase(observed, worker, now_ms, activation, memo)
    if not news.needs_write and not is_due:
        return Plan(requeue_after_ms=again_ms)
    status = written(
        observed,
        worker,
        now_ms,
        phase=phase,
        memo=memo,
        crashes=0 if news.records else observed.status.crashes,
        waiting_for=_waiting_for(activation, memo.timers) if phase is Phase.SUSPENDED else [],
        reason="",
        message="",
    )
    actions: tuple[plans.Action, ...] = (plans.Acknowledge(news.flush),) if news.flush else ()
    return Plan(status=status, memo=memo, actions=actions, requeue_after_ms=again_ms)


def _wanted_phase(
    observed: Observed, worker: Worker, now_ms: int, activation: Activation, memo: MemoBytes
) -> tuple[Phase, bool, int | None]:
    """Return the phase that a write carries now, whether it alone is worth a write, and when to look again (ms)."""
    parked_for_ms: int | None = None
    if activation.parked_since_ms is not None:
        parked_for_ms = now_ms - activation.parked_since_ms
        wakes = [memo.timers.get(item.step, 0) for item in activation.waiting_for if item.kind == "Timer"]
        is_long = (
            bool(wakes)
            and len(wakes) == len(activation.waiting_for) + activation.more
            and min(wakes) - now_ms > worker.parking_ms
        )
        if is_long or parked_for_ms >= worker.parking_ms:
            return next_phase(observed.phase, PhaseEvent.PARKED), observed.phase is not Phase.SUSPENDED, None
    phase = next_phase(observed.phase, PhaseEvent.WOKEN if observed.phase is Phase.SUSPENDED else PhaseEvent.STARTED)
    waits_ms = [] if parked_for_ms is None else [worker.parking_ms - parked_for_ms]
    is_due = False
    if phase is not observed.phase:
        since_ms = activation.running_since_ms if activation.running_since_ms is not None else now_ms
        left_ms = since_ms + worker.executing_after_ms - now_ms
        is_due = left_ms <= 0
        if not is_due:
            waits_ms.append(left_ms)
    return phase, is_due, min(waits_ms, default=None)


def _waiting_for(activation: Activation, timers: Mapping[str, int]) -> list[WaitingFor]:
    listed = [
        WaitingFor(
            kind=item.kind,
            name=item.name,
            until=time_of(timers[item.step]) if item.step in timers else None,
        )
        for item in activation.waiting_for[:MAX_WAITING_FOR]
    ]
    hidden = activation.more + len(activation.waiting_for) - len(listed)
    if hidden:
        listed[-1] = msgspec.structs.replace(listed[-1], message=f"and {hidden} more")
    return listed
