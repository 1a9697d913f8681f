"""Internal. Runs the function of a step: its tries, back-off and time limit. Only the outcome leaves this module."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from kontinue import pauses, steps
from kontinue.durable_calls import StepRequest
from kontinue.errors import CodecError, DefinitionError, NonRetryableError
from kontinue.options import RetryPolicy
from kontinue.replay.call import Call, Outcome
from kontinue_engine.runner.failures import recorded_error

NowMs = Callable[[], int]


class StepRun:
    """One run of a step: what its tries have in common."""

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
    ) -> None:
        assert isinstance(call.request, StepRequest)  # noqa: S101
        self.request = call.request
        self._call = call
        self._execution = execution
        self._key = f"{uid}:{call.id}"
        if run_epoch or generation:  # an earlier attempt may have done something else under this id
            self._key += f":{run_epoch}.{generation}"
        self._fencing_token = fencing_token
        self._now_ms = now_ms

    def run(self, *, pause: Callable[[float], object]) -> Outcome:
        """Call a sync step until it succeeds or its tries are used up; ``pause`` sleeps for a number of seconds."""
        attempt = 1
        while True:
            try:
                with self._entered(attempt):
                    value = self.request.fn(*self.request.args, **self.request.kwargs)
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
        timeout = self.request.options.timeout
        while True:
            try:
                async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                    with self._entered(attempt):
                        value = await self.request.fn(*self.request.args, **self.request.kwargs)
                return self._succeeded(value)
            except BaseException as error:  # noqa: BLE001 - see above; canceled is an outcome that nobody asks for
                delay_s = next_delay_s(self.request.options.retry, attempt, error, self._key)
                if delay_s is None:
                    return self._failed(error)
            await pause(delay_s)
            attempt += 1

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
