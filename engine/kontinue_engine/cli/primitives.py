"""Internal. What the verbs for primitives of ``konductor.io`` share: their exit codes, and what they print.

The codes are those that the original documents, so scripts can tell a missing object from a timeout. They differ from
those of the verbs about Executions (``exit_codes``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec
import typer

from kontinue import errors
from kontinue.errors import KontinueError
from kontinue.kube.requests import Resource
from kontinue_engine.cli.failures import error_text
from kontinue_engine.cli.objects import format_document
from kontinue_engine.cli.options import GlobalOptions, OutputFormat
from kontinue_engine.errors import first_known

OK: Final = 0
ERROR: Final = 1
NOT_FOUND: Final = 2
TIMEOUT: Final = 3
FORBIDDEN: Final = 4
HELD: Final = 5
"""Somebody else has it, and nobody wanted to wait."""
INTERRUPTED: Final = 130

_CODES: Final = (
    (errors.NotFound, NOT_FOUND),
    (errors.WaitTimeout, TIMEOUT),
    (errors.Forbidden, FORBIDDEN),
    (errors.Unauthorized, FORBIDDEN),
)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def run(main: Callable[[], Coroutine[None, None, int]]) -> None:
    """Run a verb's coroutine and leave with its exit code, or with that of the error that ended it."""
    try:
        code = asyncio.run(main())
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (KontinueError, ExceptionGroup) as error:
        known = first_known(error)
        if known is None or os.environ.get("KONTINUE_DEBUG"):
            raise
        print(f"error: {error_text(known)}", file=sys.stderr)
        code = exit_code_of(known)
    raise typer.Exit(code)


def name_of(resource: Resource, name: str) -> str:
    """Return how an object is named on stdout."""
    return f"{resource.plural}.{resource.group}/{name}"


def say(options: GlobalOptions, resource: Resource, name: str, what: str, fields: dict[str, Any]) -> None:
    """Print what became of one object: a line for people, its name, or its fields for programs."""
    if options.output is OutputFormat.NAME:
        print(name_of(resource, name))
    elif options.is_table:
        print(f"{name_of(resource, name)} {what}")
    else:
        print(format_document({resource.kind.lower(): name, **fields}, output=options.output))


def print_list(
    options: GlobalOptions, resource: Resource, items: Sequence[msgspec.Raw], table: Callable[[], str]
) -> None:
    """Print objects as the server sent them, or as a table."""
    if options.output is OutputFormat.NAME:
        for item in items:
            print(name_of(resource, msgspec.json.decode(item)["metadata"]["name"]))
    elif not options.is_table:
        document = {"apiVersion": "v1", "kind": "List", "items": [msgspec.json.decode(item) for item in items]}
        print(format_document(document, output=options.output))
    elif items:
        print(table())
    else:
        print(f"No {resource.plural} found.", file=sys.stderr)
