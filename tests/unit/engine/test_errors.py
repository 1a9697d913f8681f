"""Errors of several tasks are told as one."""

from kontinue.errors import Unavailable
from kontinue_engine.errors import EngineError, first_known


def test_the_first_error_of_several_tasks_is_told() -> None:
    """Ours and the SDK's alike, however deep the groups."""
    lost, away = EngineError("lost"), Unavailable("away")
    assert first_known(ExceptionGroup("tasks", [ExceptionGroup("inner", [lost]), away])) is lost
    assert first_known(away) is away


def test_a_bug_among_known_errors_is_not_hidden() -> None:
    """It keeps its traceback."""
    assert first_known(ExceptionGroup("tasks", [EngineError("lost"), TypeError("bug")])) is None
    assert first_known(TypeError("bug")) is None
