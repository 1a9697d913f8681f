"""What users give to calls of ``kontinue.sync``: a TypeError or ValueError names the argument that is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.group import MAX_NAME, MAX_UID, Holder, HolderKind
from kontinue.kube import requests
from kontinue.options import require_duration, require_type

SHORTEST_TTL: Final = timedelta(milliseconds=1)
"""What is shorter is over before its holder can hear that he has it, wherever the API server is."""


def duration_text(name: str, value: timedelta | None) -> str:
    """Return a duration as it stands in a spec; empty if there is none. Raises as ``require_length``."""
    require_length(name, value)
    return durations.format_(value) if value else ""


def ttl_text(value: timedelta | None) -> str:
    """Return how long something is held as it stands in a spec; empty if there is no end. Raises as ``require_ttl``."""
    require_ttl("ttl", value)
    return duration_text("ttl", value)


def require_length(name: str, value: timedelta | None) -> None:
    """Refuse a length of time that cannot be: only what is left of a time that is over, of a wait, may be negative.

    Raises:
        TypeError: it is neither None nor a duration.
        ValueError: it is negative.
    """
    require_duration(name, value)
    if value is not None and value < timedelta():
        raise ValueError(f"{name}={durations.format_(value)}: it is negative; expected 0 or more")


def require_ttl(name: str, value: timedelta | None) -> None:
    """Refuse what cannot be the time for which something is held; None and 0 are none.

    Raises:
        TypeError: it is neither None nor a duration.
        ValueError: it is negative, or over before anybody can know that he holds it.
    """
    require_length(name, value)
    if value and value < SHORTEST_TTL:
        least = f"expected {durations.format_(SHORTEST_TTL)} or more"
        raise ValueError(f"{name}={durations.format_(value)}: it is over before it is heard of; {least}")


def require_number(name: str, value: int, *, least: int | None = None) -> None:
    """Raise TypeError if it is no whole number, and ValueError if it is below ``least``."""
    require_type(name, value, int, f"{name}=1")
    if least is not None and value < least:
        raise ValueError(f"{name}={value}: expected {least} or more")


def require_text(name: str, value: object, example: str, *, kinds: type | tuple[type, ...] = str) -> None:
    """Refuse what is neither None nor a text, or of ``kinds``, and a text of nothing or blanks: None is the default.

    Raises:
        TypeError: it is something else.
        ValueError: it is empty or blank.
    """
    if value is None:
        return
    require_type(name, value, kinds, example)
    if isinstance(value, str) and not value.strip():
        what = "blank" if value else "empty"
        raise ValueError(f"{name}={value!r}: it is {what}; is a variable not set? Leave it out for the default")


def require_holder(value: object) -> None:
    """Refuse what is neither None, nor a name, nor a Holder; raises as ``require_text``."""
    require_text("holder", value, 'holder="worker-1"', kinds=(str, Holder))
    if isinstance(value, Holder):
        require_bound("holder", value)


def require_holder_name(value: object) -> None:
    """Refuse what is neither None nor a name; raises as ``require_text``."""
    require_text("holder", value, 'holder="worker-1"')


def require_bound(name: str, value: Holder | None) -> None:
    """Refuse what is neither None nor a Holder whose fields are what they should be.

    Raises:
        TypeError: they are something else.
        ValueError: they are too long, or no object can have the name.
    """
    if value is None:
        return
    example = f'{name}=Holder(kind=HolderKind.POD, name="worker-1")'
    require_type(name, value, Holder, example)
    require_type(f"{name}.kind", value.kind, HolderKind, example)
    for field, text, most in (("name", value.name, MAX_NAME), ("uid", value.uid, MAX_UID)):
        require_type(f"{name}.{field}", text, str, example)
        if len(text) > most:
            raise ValueError(f"{name}.{field}={text[:40]!r}...: it is longer than {most} characters")
    try:
        requests.PODS.object_path("", value.name)  # what can be no name is the same for all kinds
    except errors.Invalid as error:
        raise ValueError(f"{name}.name={value.name!r}: no {value.kind} can be called that") from error


def require_function(work: object, expected: str) -> None:
    """Raise TypeError, with what is expected, if what is to be done cannot be called."""
    if not callable(work):
        raise wrong_work(work, expected)


def wrong_work(work: object, expected: str) -> TypeError:
    """Return the error of work that is not what is expected."""
    return TypeError(f"work={work!r}: expected {expected}")
