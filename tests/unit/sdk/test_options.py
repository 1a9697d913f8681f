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
from kontinue.client import ClientOptions, SpawnOptions
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
        (lambda: RetryPolicy(child_policy="All"), r"child_policy='All': expected 'None', 'RetryFailed', 'RetryAll'"),
        (lambda: SpawnOptions(if_exists="x"), r"if_exists='x': expected 'error' or 'attach'"),
    ],
)
def test_options_refuse_values_out_of_range(make, message: str) -> None:
    """The error names the option and what it takes."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryPolicy(retries="3"), r"retries='3': expected int, for example retries=3"),
        (lambda: RetryPolicy(multiplier="2"), r"multiplier='2': expected int or float"),
        (lambda: RetryPolicy(jitter=None), r"jitter=None: expected int or float"),
        (lambda: RetryPolicy(backoff=2), r"backoff=2: expected timedelta, for example timedelta\(seconds=5\)"),
        (lambda: RetryPolicy(backoff=None), r"backoff=None: expected timedelta"),
        (lambda: RetryPolicy(max_backoff=60), r"max_backoff=60: expected timedelta"),
        (
            lambda: RetryPolicy(retries=1, non_retryable=ValueError),
            r"non_retryable=<class 'ValueError'>: expected a tuple of exception classes, for example \(ValueError, ",
        ),
        (lambda: RetryPolicy(non_retryable=("ValueError",)), r"non_retryable=\('ValueError',\): expected a tuple"),
        (lambda: TimeoutPolicy(attempt=5), r"attempt=5: expected timedelta"),
        (lambda: Retention(archive_after=5), r"archive_after=5: expected timedelta"),
        (lambda: FunctionDefaultOptions(retry=3), r"retry=3: expected RetryPolicy, for example RetryPolicy\(retries="),
        (lambda: CallOptions(timeout=5), r"timeout=5: expected TimeoutPolicy, for example TimeoutPolicy\(attempt="),
        (lambda: CallOptions(ttl=timedelta(days=1)), r"ttl=.*days=1\): expected Retention, for example Retention\(del"),
        (lambda: CallOptions(parallelism="8"), r"parallelism='8': expected int"),
        (lambda: StepOptions(name="x", timeout=3), r"timeout=3: expected timedelta"),
        (lambda: StepOptions(name="x", retry=3), r"retry=3: expected RetryPolicy"),
        (lambda: SpawnOptions(timeout=timedelta(seconds=5)), r"timeout=.*: expected TimeoutPolicy"),
        (lambda: SpawnOptions(retry=3), r"retry=3: expected RetryPolicy"),
        (lambda: ClientOptions(timeout=10), r"timeout=10: expected timedelta"),
    ],
)
def test_options_refuse_values_of_another_type(make, message: str) -> None:
    """The error comes where the option is written, and says what to write instead."""
    with pytest.raises(TypeError, match=message):
        make()


def test_options_do_not_change() -> None:
    """One policy may be shared by many functions."""
    with pytest.raises(FrozenInstanceError):
        RetryPolicy().retries = 3  # type: ignore[misc]
