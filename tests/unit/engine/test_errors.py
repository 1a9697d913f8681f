"""Errors of several tasks are told as one."""

from kontinue.errors import Unavailable
from kontinue_engine.errors import EngineError, FunctionOwnedError, first_known


def test_the_first_error_of_several_tasks_is_told() -> None:
    """Ours and the SDK's alike, however deep the groups."""
    lost, away = EngineError("lost"), Unavailable("away")
    assert first_known(ExceptionGroup("tasks", [ExceptionGroup("inner", [lost]), away])) is lost
    assert first_known(away) is away


def test_a_bug_among_known_errors_is_not_hidden() -> None:
    """It keeps its traceback."""
    assert first_known(ExceptionGroup("tasks", [EngineError("lost"), TypeError("bug")])) is None
    assert first_known(TypeError("bug")) is None


def test_a_function_of_another_group_is_told_in_the_words_of_the_reference() -> None:
    """What people know from there, and then how it is said here."""
    error = FunctionOwnedError(function="deploy-service", owner="deployments", group="releases")
    reference = (
        "function deploy-service is owned by worker group deployments (current worker group: releases).\n"
        "Set TakeOwnershipOfFunctions=true to override"
    )
    assert str(error).startswith(f"{reference}\n")
    assert "--take-ownership" in str(error)
    assert (error.function, error.owner, error.group) == ("deploy-service", "deployments", "releases")
