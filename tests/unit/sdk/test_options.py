"""Options as users write them, and as the API records them."""

from dataclasses import FrozenInstanceError
from datetime import timedelta

import msgspec
import pytest

from kontinue.api.v1alpha1 import (
    ChildPolicy,
    ExecutionDefaults,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionTimeout,
    ExecutionTTL,
)
from kontinue.options import (
    CallOptions,
    FunctionDefaultOptions,
    Retention,
    RetryPolicy,
    StepOptions,
    TimeoutPolicy,
)


def test_retry_policy_becomes_spec_retry() -> None:
    """Durations become Go durations, unset stays unset."""
    policy = RetryPolicy(
        retries=3,
        backoff=timedelta(seconds=1.5),
        multiplier=2,
        max_backoff=timedelta(minutes=5),
        jitter=0.25,
        child_policy="RetryAll",
        non_retryable=(KeyError,),
    )
    assert policy.to_api() == ExecutionRetry(
        retries=3,
        backoff="1.5s",
        multiplier=2,
        max_backoff="5m",
        jitter=0.25,
        non_retryable=["builtins.KeyError"],
        child_policy=ChildPolicy.RETRY_ALL,
    )
    assert RetryPolicy().to_api() == ExecutionRetry()


def test_timeout_and_retention_become_their_spec_fields() -> None:
    """Each limit is written on its own."""
    assert TimeoutPolicy(attempt=timedelta(minutes=90)).to_api() == ExecutionTimeout(attempt="1h30m")
    assert Retention(delete_after=timedelta(days=1)).to_api() == ExecutionTTL(delete_after="24h")


def test_defaults_that_say_nothing_are_left_out() -> None:
    """A Function without defaults has no spec.defaults."""
    assert FunctionDefaultOptions().to_api() is None
    assert FunctionDefaultOptions(retry=RetryPolicy(retries=1)).to_api() == ExecutionDefaults(
        retry=ExecutionRetry(retries=1)
    )


def test_call_options_are_spec_fields() -> None:
    """What a call says is read back as the spec of its Execution."""
    options = CallOptions(
        retry=RetryPolicy(retries=2),
        timeout=TimeoutPolicy(overall=timedelta(hours=1)),
        ttl=Retention(archive_after=timedelta(hours=2)),
        mutex="prod",
        display_name="not part of the spec",
    )
    spec = msgspec.json.decode(b'{"function": "f", ' + options.spec_json()[1:], type=ExecutionSpec)
    assert spec.retry == ExecutionRetry(retries=2)
    assert spec.timeout == ExecutionTimeout(overall="1h")
    assert spec.ttl == ExecutionTTL(archive_after="2h")
    assert spec.mutex is not None
    assert spec.mutex.name == "prod"


def test_call_options_that_concern_the_call_only_leave_the_spec_empty() -> None:
    """The common call sends no further spec fields at all."""
    assert CallOptions(parallelism=8, display_name="x").spec_json() == b""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryPolicy(retries=-1), r"retries=-1: expected 0 or more"),
        (lambda: RetryPolicy(multiplier=0.5), r"multiplier=0.5: expected 1 or more"),
        (lambda: RetryPolicy(multiplier=float("nan")), r"multiplier=nan"),
        (lambda: RetryPolicy(backoff=timedelta(seconds=-5)), r"backoff=-5s: expected 0 or more"),
        (lambda: TimeoutPolicy(attempt=timedelta(seconds=-5)), r"attempt=-5s"),
        (lambda: Retention(delete_after=timedelta(seconds=-5)), r"delete_after=-5s"),
        (lambda: StepOptions(name="x", timeout=timedelta(seconds=-5)), r"timeout=-5s"),
        (lambda: CallOptions(parallelism=0), r"parallelism=0: expected 1 or more"),
        (lambda: CallOptions(mutex=""), r"mutex=''"),
    ],
)
def test_options_refuse_values_out_of_range(make, message: str) -> None:
    """The error names the option and what it takes."""
    with pytest.raises(ValueError, match=message):
        make()


def test_options_do_not_change() -> None:
    """One policy may be shared by many functions."""
    with pytest.raises(FrozenInstanceError):
        RetryPolicy().retries = 3  # type: ignore[misc]
