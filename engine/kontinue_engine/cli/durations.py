"""Internal. Options that hold a duration."""

from __future__ import annotations

from datetime import timedelta

import typer

from kontinue_engine.cli.text import parse_duration


def duration_option(text: str, option: str) -> timedelta | None:
    """Parse an option that holds a duration; None when it was not given."""
    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
