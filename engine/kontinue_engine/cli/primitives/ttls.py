"""Internal. Options that say how long something is held. Called by the verbs of locks, Semaphores and Leases."""

from __future__ import annotations

from datetime import timedelta

import typer

from kontinue.sync.objects.arguments import require_ttl
from kontinue_engine.cli.durations import duration_option


def ttl_option(text: str | None, option: str = "--ttl") -> timedelta | None:
    """Parse an option that says how long something is held; None when it was not given.

    Raises:
        BadParameter: the text is no duration, or one that is over before its holder hears of it.
    """
    length = duration_option(text, option)
    try:
        require_ttl(option.removeprefix("--"), length)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    return length
