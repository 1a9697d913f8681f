"""Internal. The one place where phases change: ``decide(observed, worker, now_ms) -> Plan``.

Pure and idempotent: called again with the same facts it gives the same plan; once the plan is applied and observed,
nothing is left to do. It knows no API, no runner and no clock. ``controllers.execution`` calls it and applies plans.
The cases stand in modules of their own: ``starting``, ``running``, ``outcomes``, ``ending``, ``timeouts``;
``statuses`` has what every write carries.
"""

from __future__ import annotations

from kontinue_engine.lifecycle.ending import cancel, stop
from kontinue_engine.lifecycle.observed import Observed, Worker
from kontinue_engine.lifecycle.outcomes import conclude, recover
from kontinue_engine.lifecycle.plan import Plan
from kontinue_engine.lifecycle.running import progress
from kontinue_engine.lifecycle.starting import start
from kontinue_engine.lifecycle.timeouts import expire, has_struck, looking_again, next_limit


def decide(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    """Return what to do about one Execution now."""
    if observed.phase.is_terminal:
        return stop(observed, now_ms, worker)
    if observed.cancel_message:
        return cancel(observed, worker, now_ms)
    limit = next_limit(observed)
    if limit is None:
        return _go_on(observed, worker, now_ms)
    if has_struck(observed, limit, now_ms):
        return expire(observed, worker, now_ms, limit)
    return looking_again(_go_on(observed, worker, now_ms), limit, now_ms)


def _go_on(observed: Observed, worker: Worker, now_ms: int) -> Plan:
    if observed.news.outcome is not None:
        return conclude(observed, worker, now_ms, observed.news.outcome)
    if observed.news.lost is not None:
        return recover(observed, worker, now_ms)
    if observed.activation is None:
        return start(observed, worker, now_ms)
    return progress(observed, worker, now_ms, observed.activation)
