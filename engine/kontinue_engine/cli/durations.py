"""Internal. Options that hold a duration."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import typer

from kontinue_engine.cli.text import parse_duration

IS_EMPTY: Final = "it is empty; is a variable not set? Leave it out for the default"
"""Of an option that is given and empty: a variable that a script has not set is not the option left out."""
IS_BLANK: Final = IS_EMPTY.replace("empty", "blank")


def duration_option(text: str | None, option: str) -> timedelta | None:
    """Parse an option that holds a duration; None when it was not given. An empty text is no duration.

    Raises:
        BadParameter: the text is no duration.
    """
    if text is None:
        return None
    if not text:
        raise typer.BadParameter(IS_EMPTY, param_hint=option)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def check_variable(ctx: typer.Context, param: typer.CallbackParam, text: str | None) -> str | None:
    """Refuse what is no duration, of an option that an environment variable stands for: by the name of the variable.

    Raises:
        BadParameter: the variable holds no duration.
    """
    source = ctx.get_parameter_source(param.name or "")
    if source is not None and source.name == "ENVIRONMENT" and not ctx.resilient_parsing:
        duration_option(text, f"${param.envvar}")
    return text
