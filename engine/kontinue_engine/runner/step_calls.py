"""Internal. Runs the function of a step: its tries, back-off and time limit. Only the outcome leaves this module.

Nothing can stop a thread. A sync step that takes too long is left to itself in its own: whatever it does then, its
outcome is dropped, and the activation is told of it twice, when the thread is left and when it has ended after all.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import Any

from kontinue import pauses, steps
from kontinue.api import durations
from kontinue.durable_calls import StepRequest
from kontinue.errors import CodecError, DefinitionError, NonRetryableError
from kontinue.options import RetryPolicy
from kontinue.poll_calls import step_of
from kontinue.replay.call import Call, Outcome
from kontinue_engine.runner.failures import recorded_error

NowMs = Callable[[], int]


class StepRun:
    """One run of a step: what its tries have in common.

    Args:
        call: the step.
        execution: name of the Execution.
        uid: its uid.
        run_epoch: of the Execution.
        generation: of the step's id.
        fencing_token: of the activation.
        now_ms: read when the step ends.
        on_left: called, from any thread, when a try is left to itself in its thread.
        on_late_end: called, from that thread, when such a try has ended.
    """

    def __init__(
        self,
        call: Call,
        *,
        execution: str,
        uid: str,
        run_epoch: int,
        generation: int,
        fencing_token: int,
        now_ms: NowMs,
        on_left: Callable[[], None],
        on_late_end: Callable[[], None],
    ) -> None:
        self.request = step_of(call.request)
        self._call = call
        self._execution = execution
        self._key = f"{uid}:{call.id}"
        if run_epoch or generation:  # an earlier attempt may have done something else under this id
            self._key += f":{run_epoch}.{generation}"
        self._fencing_token = fencing_token
        self._now_ms = now_ms
        self._on_left = on_left
        self._on_late_end = on_late_end

    def run(self, *, pause: Callable[[float], object]) -> Outcome:
        """Call a sync step until it succeeds or its tries are used up; ``pause`` sleeps for a number of seconds."""
        attempt = 1
        while True:
            try:
                with self._entered(attempt):
                    value = self._call_sync()
                if inspect.iscoroutine(value):
                    value.close()
                    name = self.request.options.name
                    raise DefinitionError(
                        f"step {name!r} returned a coroutine: give ctx.step the async function itself"
                    )
                return self._succeeded(value)
            except BaseException as error:  # noqa: BLE001 - SystemExit of a step must not end the runner
                delay_s = next_delay_s(self.request.options.retry, attempt, error, self._key)
                if delay_s is None:
                    return self._failed(error)
            pause(delay_s)
            attempt += 1

    async def run_async(self, *, pause: Callable[[float], Awaitable[object]]) -> Outcome:
        """Call an async step until it succeeds or its tries are used up; ``pause`` sleeps for a number of seconds."""
        attempt = 1
        while True:
            try:
                with self._entered(attempt):
                    value = await self._call_async()
                return self._succeeded(value)
            except BaseException as error:  # noqa: BLE001 - see above; canceled is an outcome that nobody asks for
                delay_s = next_delay_s(self.request.options.retry, attempt, error, self._key)
                if delay_s is None:
                    return self._failed(error)
            await pause(delay_s)
            attempt += 1

    async def _call_async(self) -> Any:
        limit = self.request.options.timeout
        timer = asyncio.timeout(None if limit is None else limit.total_seconds())
        try:
            async with timer:
                return await self.request.fn(*self.request.args, **self.request.kwargs)
        except TimeoutError:
            if limit is None or not timer.expired():
                raise
            raise self._too_long(limit, "") from None

    def _call_sync(self) -> Any:
        limit = self.request.options.timeout
        if limit is None:
            return self.request.fn(*self.request.args, **self.request.kwargs)
        attempt = _Try(self.request, on_late_end=self._on_late_end)
        if not attempt.ends_within(limit, on_left=self._on_left):
            raise self._too_long(limit, ". Its thread cannot be stopped: what it still does may have effects")
        return attempt.result()

    def _too_long(self, limit: timedelta, remark: str) -> TimeoutError:
        return TimeoutError(f"step {self.request.options.name!r} took longer than {durations.format_(limit)}{remark}")

    @contextmanager
    def _entered(self, attempt: int) -> Iterator[None]:
        token = steps.enter_step(
            steps.StepInfo(
                idempotency_key=self._key,
                attempt=attempt,
                execution=self._execution,
                step=self._call.id,
                fencing_token=self._fencing_token,
            )
        )
        try:
            yield
        finally:
            steps.leave_step(token)

    def _succeeded(self, value: object) -> Outcome:
        return Outcome(at_ms=self._now_ms(), value=self.request.codec.encode_result(value))

    def _failed(self, error: BaseException) -> Outcome:
        return Outcome(at_ms=self._now_ms(), error=recorded_error(error))


class _Try:
    """One call of a sync step in a thread of its own, in a copy of the caller's context."""

    def __init__(self, request: StepRequest, *, on_late_end: Callable[[], None]) -> None:
        self._request = request
        self._on_late_end = on_late_end
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._is_left = False
        self._value: Any = None
        self._error: BaseException | None = None
        # Not one of ``Threads``: it may never come back, and whoever runs user code in tests waits for those.
        work, name = copy_context().run, f"kontinue-step-{request.options.name}"
        threading.Thread(target=work, args=(self._run,), name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._request.fn(*self._request.args, **self._request.kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        with self._lock:
            self._ended.set()
        if self._is_left:
            self._on_late_end()

    def ends_within(self, limit: timedelta, *, on_left: Callable[[], None]) -> bool:
        """Wait; False if it is left to itself."""
        self._ended.wait(min(limit.total_seconds(), threading.TIMEOUT_MAX))
        with self._lock:
            self._is_left = not self._ended.is_set()
            if self._is_left:
                on_left()
        return not self._is_left

    def result(self) -> Any:
        """Return or raise what the call has."""
        if self._error is not None:
            raise self._error
        return self._value


def next_delay_s(policy: RetryPolicy | None, attempt: int, error: BaseException, identity: str) -> float | None:
    """Return how long to wait before the next try, or None when there is none; ``identity`` decides the jitter."""
    if policy is None or attempt > policy.retries or not isinstance(error, Exception):
        return None
    if isinstance(error, (NonRetryableError, CodecError, DefinitionError, *policy.non_retryable)):
        return None
    return pauses.pause_s(
        attempt,
        backoff=policy.backoff,
        multiplier=policy.multiplier,
        max_backoff=policy.max_backoff,
        jitter=policy.jitter,
        share=pauses.share_of(identity, attempt),
    )
