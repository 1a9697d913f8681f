"""Builds the call of ``ctx.poll``: a condition that the runner looks at now and then until it holds.

Only the look that finds it so is recorded, like a step; when to look is the supervisor's business. So however long
it takes, a poll is one record, and a pause that nobody remembers is no reason to fail: then it is looked at at once.
The contexts use ``poll_call``; runners perform the request.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from kontinue import steps
from kontinue.definition import FunctionDefinition
from kontinue.durable_calls import StepRequest, line_of_caller
from kontinue.durable_timeout import require_timedelta
from kontinue.errors import ContextError, DefinitionError
from kontinue.options import StepOptions
from kontinue.replay.call import Call, Outcome
from kontinue.replay.records import Record, RecordKind

_NOT_YET: Final = frozenset({b"null", b"false"})
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class PollRequest:
    """Perform ``look`` until it returns something, with a pause of ``every_ms`` after each time that it does not."""

    look: StepRequest
    every_ms: int

    def holds(self, outcome: Outcome) -> bool:
        """Tell whether a look is the last one: it has returned something, or failed."""
        return outcome.error is not None or outcome.value not in _NOT_YET

    def decode(self, data: bytes) -> Any:
        """Return what the last look has returned."""
        return self.look.decode(data)

    def failure(self, record: Record) -> Exception:
        """Return StepFailed."""
        return self.look.failure(record)


def step_of(request: object) -> StepRequest:
    """Return what a runner performs for the request of a step or poll."""
    step = request.look if isinstance(request, PollRequest) else request
    assert isinstance(step, StepRequest)  # noqa: S101
    return step


def poll_call(check: Callable[[], Any], *, every: timedelta, timeout: timedelta | None, may_be_async: bool) -> Call:
    """Return the call of a poll; its pause is not compared on replay.

    Raises:
        DefinitionError: the condition is nothing that can be called here.
        ContextError: the pause is no timedelta, or none at all; the limit is no timedelta.
    """
    require_timedelta(every, "ctx.poll(every=...)")
    if timeout is not None:
        require_timedelta(timeout, "ctx.poll(timeout=...)")
    if every < _MILLISECOND:
        raise ContextError(f"ctx.poll(every=...) takes a pause of at least a millisecond, got {every}")
    if not callable(check) or isinstance(check, FunctionDefinition):
        raise DefinitionError(
            f"ctx.poll takes a function without parameters that looks at something, got {check!r}: "
            "a kontinue function is called with ctx.execute"
        )
    is_async = inspect.iscoroutinefunction(check)
    if is_async and not may_be_async:
        raise DefinitionError("ctx.poll: the condition is async: a sync function needs a sync one")
    options, codec = _options(check), steps.step_codec(check)
    fn = _called_in_thread(check) if may_be_async and not is_async else check
    request = PollRequest(StepRequest(fn, (), {}, options, codec, may_be_async), every // _MILLISECOND)
    return Call(RecordKind.POLL, options.name, request, line=line_of_caller())


def _options(check: Callable[[], Any]) -> StepOptions:
    try:
        return steps.step_options(check)
    except DefinitionError:
        return StepOptions(name="condition")  # a lambda: where it stands is told with the call


def _called_in_thread(check: Callable[[], Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Return an async condition: what a lambda returns may be a coroutine."""

    @functools.wraps(check)
    async def look() -> Any:
        found = await asyncio.to_thread(check)
        return await found if inspect.isawaitable(found) else found

    return look
