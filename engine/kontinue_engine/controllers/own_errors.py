"""Internal. Errors that no user code has raised but the engine tells of: as frames carry them. Pure.

With the names of all their classes, so that ``is_a`` of the exception that user code sees knows them.
"""

from __future__ import annotations

from kontinue.errors import KontinueError
from kontinue_engine.wire import frames


def own_error(kind: type[KontinueError], message: str) -> frames.ErrorInfo:
    """Describe an error of ours; it is never raised here."""
    types = [f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__ if one is not object]
    return frames.ErrorInfo(type=types[0], message=message, types=types)
