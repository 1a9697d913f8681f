"""Internal. A run of a function has asked for another one with new arguments, as the same Execution. Pure.

A part of ``decide``. One write ends the old run and begins the new one, so that a crash is before or after it.
"""

from __future__ import annotations

from typing import Final

from kontinue.api.v1alpha1 import ExecutionAttempt
from kontinue_engine.lifecycle import plan as plans
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.phases import PhaseEvent, next_phase
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.statuses import written
from kontinue_engine.lifecycle.times import time_of

OLD_RUN_MESSAGE: Final = "Canceled: its parent runs everything anew"
"""Message of children that outlive the run of their parent which started them."""


def continue_as_new(observed: Observed, worker: Worker, now_ms: int, arguments: bytes) -> Plan:
    """Begin with an empty memo and the first attempt; deadline, mutex and shard stay."""
    memo = MemoBytes(build=worker.build, arguments=arguments, since_ms=now_ms)
    status = written(
        observed,
        worker,
        now_ms,
        phase=next_phase(observed.phase, PhaseEvent.STARTED),
        memo=memo,
        reason="",
        message="",
        crashes=0,
        resumptions=0,
        run_epoch=observed.status.run_epoch + 1,
        attempts=[ExecutionAttempt(number=1, started_at=time_of(now_ms), worker=worker.shard)],
        attempt_count=1,
        waiting_for=[],
    )
    return Plan(
        status=status,
        memo=memo,
        actions=(plans.CancelChildren(OLD_RUN_MESSAGE, is_anew=True), plans.ForgetActivation()),
    )
