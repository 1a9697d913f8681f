"""Internal. What the verbs for primitives of ``konductor.io`` share: their exit codes, and what an operation prints.

The codes are those that the original documents, so scripts can tell a missing object from a timeout. They differ from
those of the verbs about Executions (``exit_codes``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, Self

import typer

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.kube.requests import Resource
from kontinue.sync.objects.arguments import require_bound
from kontinue_engine.cli import connection, failures, streams
from kontinue_engine.cli.durations import IS_BLANK, IS_EMPTY, check_variable
from kontinue_engine.cli.objects import format_document, tell
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, is_terminal, note
from kontinue_engine.cli.text import one_line
from kontinue_engine.errors import first_known

OK: Final = 0
ERROR: Final = 1
NOT_FOUND: Final = 2
TIMEOUT: Final = 3
FORBIDDEN: Final = 4
HELD: Final = 5
"""Somebody else has it."""

WaitLimitOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="KONDUCTOR_TIMEOUT",
        callback=check_variable,
        help="Give up after e.g. 30m; 0 looks once. Default: never.",
    ),
]

_CODES: Final = (
    (errors.NotFound, NOT_FOUND),
    (errors.WaitTimeout, TIMEOUT),
    (errors.Forbidden, FORBIDDEN),
    (errors.Unauthorized, FORBIDDEN),
    (errors.Held, HELD),
)


def run(main: Callable[[], Coroutine[None, None, int]]) -> None:
    """Run a verb's coroutine and leave with its exit code, or with that of the error that ended it."""

    async def coded() -> int:
        try:
            return await main()
        except Exception as error:  # noqa: BLE001 - a bug is raised again
            return tell_error(error)

    connection.run(coded)


def tell_error(error: Exception) -> int:
    """Say on stderr what went wrong, and return its exit code; a bug is raised again."""
    failures.tell(error, with_notes=True)
    return code_of(error)


def code_of(error: Exception) -> int:
    """Return the exit code for what went wrong."""
    known = first_known(error)
    return next((code for kind, code in _CODES if isinstance(known, kind)), ERROR)


def say(options: GlobalOptions, resource: Resource, name: str, what: str, fields: dict[str, Any]) -> None:
    """Print what became of one object, as ``show`` does; it is so whether anybody reads it or not."""
    with streams.telling_what_was_done():
        show(options, resource, name, what, fields)


def show(options: GlobalOptions, resource: Resource, name: str, what: str, fields: dict[str, Any]) -> None:
    """Print what is so of one object: a line for people, its name, or its fields for programs."""
    tell(options, resource, name, what)
    if not options.is_table and options.output is not OutputFormat.NAME:
        print(format_document({resource.kind.lower(): name, **fields}, output=options.output))


def bound_holder(text: str, *, option: str = "--holder") -> Holder:
    """Return what ``option`` says, ``pod/NAME`` or ``execution/NAME``, as a holder."""
    kind, _, name = text.partition("/")
    kinds = {one.value.lower(): one for one in HolderKind}
    kinds |= {f"{word}s": one for word, one in kinds.items()}
    found = kinds.get(kind.lower())
    if found is None or not name:
        raise typer.BadParameter(f"{text!r} is neither pod/NAME nor execution/NAME", param_hint=option)
    holder = Holder(kind=found, name=name)
    try:
        require_bound("holder", holder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    return holder


def refuse_empty(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Refuse an option that is given and empty, as ``duration_option`` does, or blank."""
    source = ctx.get_parameter_source(param.name or "")
    is_given = source is not None and source.name == "COMMANDLINE"
    if is_given and not value.strip() and not ctx.resilient_parsing:
        raise typer.BadParameter(IS_BLANK if value else IS_EMPTY)
    return value


class Progress:
    """Says on stderr what a wait still waits for: on a terminal in one line, else in a line for each change."""

    def __init__(self, options: GlobalOptions) -> None:
        self._options = options
        self._is_terminal = is_terminal(sys.stderr)
        self._said = ""

    def show(self, text: str) -> None:
        """Say it, unless it was said last."""
        text = one_line(text)
        if self._options.quiet or text == self._said:
            return
        self._said = text
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        else:
            note(self._options, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line."""
        self.leave()

    def leave(self) -> None:
        """Leave the line, if that was not done: whoever prints next begins one."""
        if self._said and self._is_terminal:
            print(file=sys.stderr, flush=True)
        self._said = ""
