"""Errors of the test environment. What an Execution ends with is an error of ``kontinue.errors``, as in production.

KontinueError
├── Stuck          nothing will happen by itself any more; what each Execution waits for
└── EngineFailed   the environment is used wrongly, or is broken
"""

from __future__ import annotations

from kontinue.errors import KontinueError


class Stuck(KontinueError):  # noqa: N818 - says what happened, like those of kontinue.errors
    """The Execution has not ended, and nothing will happen by itself any more. Says what each Execution waits for."""


class EngineFailed(KontinueError):  # noqa: N818
    """The environment is used in a way that cannot work, or its engine is broken; the cause is the engine's error."""
