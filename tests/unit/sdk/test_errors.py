"""The exception tree."""

import inspect
import pickle

import pytest

from kontinue import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BaseException)]


def test_all_is_sorted_and_lists_classes_of_the_module() -> None:
    """What the stability promise lists exists."""
    assert list(errors.__all__) == sorted(errors.__all__)
    assert {getattr(errors, name) for name in errors.__all__} <= set(CLASSES)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_says_what_it_means(error: type[BaseException]) -> None:
    """Each class has a docstring of its own."""
    assert "__doc__" in vars(error)
    assert error.__doc__


def test_only_what_ends_the_function_escapes_except_exception() -> None:
    """A handler for everything catches every error of ours, a cancel and a new start aside."""
    outside = [error for error in CLASSES if not issubclass(error, errors.KontinueError)]
    assert outside == [errors.ContinueAsNew, errors.ExecutionInterrupted]
    assert not any(issubclass(error, Exception) for error in outside)


def test_recorded_failure_is_recognised_by_class_name() -> None:
    """A handler asks for the original class, bases included, though only names were recorded."""
    failure = errors.StepFailed(
        "slow", type="builtins.TimeoutError", types=["builtins.TimeoutError", "builtins.OSError"], seq=3
    )
    assert failure.is_a(TimeoutError)
    assert failure.is_a(ValueError, OSError)
    assert not failure.is_a(ValueError)
    assert str(failure) == "builtins.TimeoutError: slow"
    assert failure.seq == 3


def test_child_failure_names_the_child() -> None:
    """Which child failed, and how, is an attribute."""
    failure = errors.ChildFailed("no", type="ValueError", child="build-1", phase="Canceled")
    assert (failure.child, failure.phase, failure.message) == ("build-1", "Canceled", "no")


@pytest.mark.parametrize("error", [errors.WaitTimeout, errors.SuspendTimeout])
def test_timeouts_are_python_timeouts(error: type[Exception]) -> None:
    """Code that handles TimeoutError handles ours."""
    assert issubclass(error, TimeoutError)


def test_codec_errors_carry_the_path() -> None:
    """Tools can point at the field."""
    assert errors.InvalidArguments("bad", path="$.targets[2]").path == "$.targets[2]"
    assert errors.InvalidResult("bad").path == "$"


def test_codec_error_survives_pickling() -> None:
    """Errors travel through process pools of users."""
    assert str(pickle.loads(pickle.dumps(errors.InvalidArguments("bad")))) == "bad"
