"""Internal. It runs: persist what it reported, and say what it waits for. Pure; a part of ``decide``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue.api.v1alpha1 import Phase, WaitingFor
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.conditions import with_progress
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, Observed, Wait, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.retrying import TIMER
from kontinue_engine.lifecycle.starting import wait_for_room
from kontinue_engine.lifecycle.statuses import extended, written
from kontinue_engine.lifecycle.times import time_of
from kontinue_engine.wire.frames import WaitingItem

JOB_KINDS: Final = frozenset({"Job", "Pod"})
UNCREATED_MESSAGE: Final = "not created yet"
"""Of a Job or Pod in ``status.waitingFor``; any other one was there when that was written."""
MAX_WAITING_FOR: Final = 10
"""Entries of ``status.waitingFor``: enough to explain, few enough to stay small (judgement)."""


def progress(observed: Observed, worker: Worker, now_ms: int, activation: Activation) -> Plan:
    """Persist what it reported, and say what it waits for."""
    if activation.running_since_ms is None:
        return wait_for_room(observed, worker)
    news = observed.news
    memo = extended(observed.memo, news, worker)
    phase, is_due, again_ms = _wanted_phase(observed, worker, now_ms, activation, memo)
    waiting_for = waiting_list(observed, activation, memo.timers) if phase is Phase.SUSPENDED else []
    if not news.needs_write and not is_due and not _tells_more_of_jobs(waiting_for, observed.status.waiting_for):
        return Plan(requeue_after_ms=again_ms)
    status = written(
        observed,
        worker,
        now_ms,
        phase=phase,
        memo=memo,
        crashes=0 if news.records else observed.status.crashes,
        conditions=with_progress(observed.status.conditions, news.records, now_ms),
        waiting_for=waiting_for,
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
        is_long = not activation.more and _is_long(observed, activation, memo, now_ms + worker.parking_ms)
        if is_long or parked_for_ms >= worker.parking_ms:
            return next_phase(observed.phase, PhaseEvent.PARKED), observed.phase is not Phase.SUSPENDED, None
    phase = next_phase(observed.phase, PhaseEvent.WOKEN if observed.phase is Phase.SUSPENDED else PhaseEvent.STARTED)
    waits_ms = [] if parked_for_ms is None else [worker.parking_ms - parked_for_ms]
    is_due = False
    if phase is not observed.phase:
        due_ms = _due_ms(observed.phase, activation, worker, now_ms)
        is_due = due_ms is not None and due_ms <= now_ms
        if due_ms is not None and not is_due:
            waits_ms.append(due_ms - now_ms)
    return phase, is_due, min(waits_ms, default=None)


def _due_ms(phase: Phase, activation: Activation, worker: Worker, now_ms: int) -> int | None:
    """Return when it is worth a write that it runs; a look at the condition of a poll only if it takes long."""
    if activation.looks_since_ms is not None and activation.parked_since_ms is None:
        return activation.looks_since_ms + worker.parking_ms
    if activation.looks_since_ms is not None and phase is Phase.SUSPENDED:
        return None
    since_ms = activation.running_since_ms if activation.running_since_ms is not None else now_ms
    return since_ms + worker.executing_after_ms


def _is_long(observed: Observed, activation: Activation, memo: MemoBytes, until_ms: int) -> bool:
    """Tell whether it waits for nothing but Jobs, Pods, and timers and sleeps that all end after that time."""
    for item in activation.waiting_for:
        wait = observed.waits.get(item.step)
        if wait is not None and wait.is_sleep:
            is_long = wait.exists and (wait.until_ms is None or wait.until_ms > until_ms)
        else:
            is_long = item.kind == TIMER and memo.timers.get(item.step, 0) > until_ms
        if not is_long:
            return False
    return bool(activation.waiting_for)


def waiting_list(observed: Observed, activation: Activation, timers: Mapping[str, int]) -> list[WaitingFor]:
    """Return what is written that a parked activation waits for; timers last, as many are timeouts of the others."""
    listed = []
    for item in activation.waiting_for[:MAX_WAITING_FOR]:
        wait = observed.waits.get(item.step)
        until_ms = timers.get(item.step) if wait is None else wait.until_ms
        listed.append(
            WaitingFor(
                kind=item.kind if wait is None else wait.kind,
                name=item.name if wait is None else wait.name,
                until=None if until_ms is None else time_of(until_ms),
                message=_message(item, wait),
            )
        )
    listed.sort(key=lambda one: one.kind == TIMER)
    hidden = activation.more + len(activation.waiting_for) - len(listed)
    if hidden:
        listed[-1] = msgspec.structs.replace(listed[-1], message=f"and {hidden} more")
    return listed


def _message(item: WaitingItem, wait: Wait | None) -> str:
    if wait is not None:
        return wait.message
    return UNCREATED_MESSAGE if item.kind in JOB_KINDS else ""


def _tells_more_of_jobs(now: Sequence[WaitingFor], told: Sequence[WaitingFor]) -> bool:
    """Tell whether what holds a Job or Pod up has changed since that was written."""
    messages = {(item.kind, item.name): item.message for item in told if item.kind in JOB_KINDS}
    return any(messages.get((item.kind, item.name), item.message) != item.message for item in now)
