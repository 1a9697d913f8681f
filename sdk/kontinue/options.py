"""Options of functions, calls and steps, as users write them: frozen, durations are ``timedelta``.

``to_api`` turns them into the fields of Function and Execution objects. What an option says is always recorded there;
the docstring of each says what this version of the engine does about it. A value of the wrong type is refused where it
is written: a worker would fail by it much later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, cast

import msgspec

from kontinue.api import durations
from kontinue.api.v1alpha1 import (
    ChildPolicy,
    ExecutionDefaults,
    ExecutionMutex,
    ExecutionRetry,
    ExecutionTimeout,
    ExecutionTTL,
)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how fast a failed attempt is repeated.

    Attributes:
        retries: attempts after the first one.
        backoff: wait before the first repetition.
        multiplier: factor by which the wait grows with each further one; at least 1.
        max_backoff: longest wait; None means no limit.
        jitter: share by which each wait is shortened at random, from 0 (not at all) to 1, so that many that failed
            together are not repeated together.
        child_policy: what a new attempt does with the children of the one before: None takes them as they ended,
            RetryFailed retries those that failed or were canceled, RetryAll runs everything anew, steps included.
            Unset means RetryFailed. No meaning for steps.
        non_retryable: exceptions that fail at once; their subclasses too. Recorded by name.
    """

    retries: int = 0
    backoff: timedelta = timedelta(seconds=5)
    multiplier: float = 1.0
    max_backoff: timedelta | None = None
    jitter: float = 0.0
    child_policy: Literal["None", "RetryFailed", "RetryAll"] | None = None
    non_retryable: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        require_type("retries", self.retries, int, "retries=3")
        require_type("multiplier", self.multiplier, (int, float), "multiplier=2")
        require_type("jitter", self.jitter, (int, float), "jitter=0.2")
        if self.retries < 0:
            raise ValueError(f"retries={self.retries}: expected 0 or more")
        if not self.multiplier >= 1:
            raise ValueError(f"multiplier={self.multiplier}: expected 1 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter={self.jitter}: expected 0 to 1")
        require_type("backoff", self.backoff, timedelta, _A_DURATION)
        _check_durations(backoff=self.backoff, max_backoff=self.max_backoff)
        if self.child_policy not in (None, *ChildPolicy):
            raise ValueError(
                f"child_policy={self.child_policy!r}: expected {', '.join(map(repr, map(str, ChildPolicy)))}"
            )
        _check_exceptions(self.non_retryable)

    def to_api(self) -> ExecutionRetry:
        """Return it as ``spec.retry`` of an Execution."""
        return ExecutionRetry(
            retries=self.retries,
            backoff=durations.format_(self.backoff),
            multiplier=self.multiplier,
            max_backoff=_text(self.max_backoff),
            jitter=self.jitter,
            non_retryable=[f"{kind.__module__}.{kind.__qualname__}" for kind in self.non_retryable],
            child_policy=None if self.child_policy is None else ChildPolicy(self.child_policy),
        )


@dataclass(frozen=True, kw_only=True)
class TimeoutPolicy:
    """Limits of time of an Execution; zero means no limit, like None.

    Attributes:
        attempt: for one attempt, from when a runner has taken it. It stands still while the Execution is Suspended (it
            has waited for longer than five seconds) and starts anew afterwards. Such a failure is retried.
        overall: from the first start to the end, all attempts, pauses and waits included. Such a failure is final.
    """

    attempt: timedelta | None = None
    overall: timedelta | None = None

    def __post_init__(self) -> None:
        _check_durations(attempt=self.attempt, overall=self.overall)

    def to_api(self) -> ExecutionTimeout:
        """Return it as ``spec.timeout`` of an Execution."""
        return ExecutionTimeout(attempt=_text(self.attempt), overall=_text(self.overall))


@dataclass(frozen=True, kw_only=True)
class Retention:
    """When a root Execution that has ended goes, with everything below it. Neither: it is kept for ever.

    Attributes:
        archive_after: time from the end to the archive; None and zero mean never.
        delete_after: time from the end to the deletion, of the Execution or its archive; None and zero mean never.
    """

    archive_after: timedelta | None = None
    delete_after: timedelta | None = None

    def __post_init__(self) -> None:
        _check_durations(archive_after=self.archive_after, delete_after=self.delete_after)

    def to_api(self) -> ExecutionTTL:
        """Return it as ``spec.ttl`` of an Execution."""
        return ExecutionTTL(archive_after=_text(self.archive_after), delete_after=_text(self.delete_after))


@dataclass(frozen=True, kw_only=True)
class FunctionDefaultOptions:
    """What Executions of a function get when their call says nothing."""

    retry: RetryPolicy | None = None
    timeout: TimeoutPolicy | None = None
    ttl: Retention | None = None

    def __post_init__(self) -> None:
        check_policies(retry=self.retry, timeout=self.timeout, ttl=self.ttl)

    def to_api(self) -> ExecutionDefaults | None:
        """Return it as ``spec.defaults`` of a Function; None when nothing is set."""
        if self.retry is None and self.timeout is None and self.ttl is None:
            return None
        return ExecutionDefaults(
            retry=None if self.retry is None else self.retry.to_api(),
            timeout=None if self.timeout is None else self.timeout.to_api(),
            ttl=None if self.ttl is None else self.ttl.to_api(),
        )


class _SpecFields(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The fields of ``ExecutionSpec`` that a call may set."""

    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None
    mutex: ExecutionMutex | None = None


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """What ``fn.options(...)`` sets for the calls made with its result.

    Attributes:
        name: name of the child Execution; None lets kontinue choose. Recorded names must not repeat.
        retry: overrides the function's default.
        timeout: replaces the function's default, both limits of it.
        ttl: overrides the function's default; counts for root Executions only.
        mutex: name of the mutex to hold, from the start until nothing of the Execution runs any more. One Execution of
            the worker group holds it at a time; the others wait, in the order of their creation. One that an ancestor
            holds is an error.
        display_name: for people, in trees and lists.
        description: for people. No effect in this version.
        disable_shard_inheritance: let the leader place the child instead of keeping it on the parent's shard.
        parallelism: how many children ``ctx.map`` keeps running; None means all.
    """

    name: str | None = None
    retry: RetryPolicy | None = None
    timeout: TimeoutPolicy | None = None
    ttl: Retention | None = None
    mutex: str | None = None
    display_name: str | None = None
    description: str | None = None
    disable_shard_inheritance: bool = False
    parallelism: int | None = None

    def __post_init__(self) -> None:
        check_policies(retry=self.retry, timeout=self.timeout, ttl=self.ttl)
        if self.parallelism is not None:
            require_type("parallelism", self.parallelism, int, "parallelism=8")
        if self.parallelism is not None and self.parallelism < 1:
            raise ValueError(f"parallelism={self.parallelism}: expected 1 or more")
        if self.mutex == "":
            raise ValueError("mutex='': expected a name")

    def spec_json(self) -> bytes:
        """Return the spec fields of the child (retry, timeout, ttl, mutex) as a JSON object; empty when none is set."""
        if self.retry is None and self.timeout is None and self.ttl is None and self.mutex is None:
            return b""
        return msgspec.json.encode(
            _SpecFields(
                retry=None if self.retry is None else self.retry.to_api(),
                timeout=None if self.timeout is None else self.timeout.to_api(),
                ttl=None if self.ttl is None else self.ttl.to_api(),
                mutex=None if self.mutex is None else ExecutionMutex(name=self.mutex),
            )
        )


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What ``@step(...)`` sets.

    Attributes:
        name: what records and trees show.
        retry: repetitions within the activation; only the outcome is recorded.
        timeout: for one try; None means no limit.
    """

    name: str
    retry: RetryPolicy | None = None
    timeout: timedelta | None = None

    def __post_init__(self) -> None:
        check_policies(retry=self.retry)
        _check_durations(timeout=self.timeout)


_A_DURATION: Final = "timedelta(seconds=5)"


def require_type(name: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Raise TypeError, with what to write instead, if an option is of another type."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(one.__name__ for one in kinds)
        raise TypeError(f"{name}={value!r}: expected {expected}, for example {example}")


def require_duration(name: str, value: object) -> None:
    """Raise TypeError if an option is neither None nor a timedelta: a number could be seconds or milliseconds."""
    if value is not None:
        require_type(name, value, timedelta, _A_DURATION)


def check_policies(*, retry: object = None, timeout: object = None, ttl: object = None) -> None:
    """Raise TypeError if one of these options is neither None nor its policy."""
    if retry is not None:
        require_type("retry", retry, RetryPolicy, "RetryPolicy(retries=3)")
    if timeout is not None:
        require_type("timeout", timeout, TimeoutPolicy, f"TimeoutPolicy(attempt={_A_DURATION})")
    if ttl is not None:
        require_type("ttl", ttl, Retention, "Retention(delete_after=timedelta(days=1))")


def _check_durations(**values: Any) -> None:
    for name, value in values.items():
        require_duration(name, value)
        if value is not None and value < timedelta():
            raise ValueError(f"{name}={durations.format_(value)}: expected 0 or more")


def _check_exceptions(kinds: Any) -> None:
    if not isinstance(kinds, tuple | list) or not all(map(_is_exception, cast("Sequence[object]", kinds))):
        raise TypeError(
            f"non_retryable={kinds!r}: expected a tuple of exception classes, for example (ValueError, KeyError)"
        )


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _text(duration: timedelta | None) -> str:
    return "" if duration is None else durations.format_(duration)
