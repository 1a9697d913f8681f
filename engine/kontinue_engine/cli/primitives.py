"""Internal. What the verbs for primitives of ``konductor.io`` share: their exit codes, and what an operation prints.

The codes are those that the original documents, so scripts can tell a missing object from a timeout. They differ from
those of the verbs about Executions (``exit_codes``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from kontinue import errors
from kontinue.kube.requests import Resource
from kontinue.sync import NoPermit
from kontinue_engine.cli import connection, failures
from kontinue_engine.cli.objects import format_document, tell
from kontinue_engine.cli.options import GlobalOptions, OutputFormat
from kontinue_engine.errors import first_known

OK: Final = 0
ERROR: Final = 1
NOT_FOUND: Final = 2
TIMEOUT: Final = 3
FORBIDDEN: Final = 4
HELD: Final = 5
"""Somebody else has it, and nobody wanted to wait."""

_CODES: Final = (
    (errors.NotFound, NOT_FOUND),
    (NoPermit, HELD),
    (errors.WaitTimeout, TIMEOUT),
    (errors.Forbidden, FORBIDDEN),
    (errors.Unauthorized, FORBIDDEN),
)


def run(main: Callable[[], Coroutine[None, None, int]]) -> None:
    """Run a verb's coroutine and leave with its exit code, or with that of the error that ended it."""

    async def coded() -> int:
        try:
            return await main()
        except Exception as error:  # noqa: BLE001 - a bug is raised again
            failures.tell(error)
            known = first_known(error)
            return next((code for kind, code in _CODES if isinstance(known, kind)), ERROR)

    connection.run(coded)


def say(options: GlobalOptions, resource: Resource, name: str, what: str, fields: dict[str, Any]) -> None:
    """Print what became of one object: a line for people, its name, or its fields for programs."""
    tell(options, resource, name, what)
    if not options.is_table and options.output is not OutputFormat.NAME:
        print(format_document({resource.kind.lower(): name, **fields}, output=options.output))
