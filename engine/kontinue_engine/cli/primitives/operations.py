"""Internal. What the verbs for primitives of ``konductor.io`` share: their exit codes, and what an operation prints.

The codes are those that the original documents, so scripts can tell a missing object from a timeout. They differ from
those of the verbs about Executions (``exit_codes``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec
import typer

from kontinue import errors
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.kube.answers import reader
from kontinue.kube.requests import Resource
from kontinue_engine.cli import connection, failures, streams
from kontinue_engine.cli.executions import list_objects
from kontinue_engine.cli.objects import format_document, print_objects, tell
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, global_options, is_terminal, note, table_width
from kontinue_engine.cli.text import one_line
from kontinue_engine.errors import first_known

OK: Final = 0
ERROR: Final = 1
NOT_FOUND: Final = 2
TIMEOUT: Final = 3
FORBIDDEN: Final = 4
HELD: Final = 5
"""Somebody else has it."""

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

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
            failures.tell(error)
            return code_of(error)

    connection.run(coded)


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


class Table(Protocol[T_contra]):
    """Makes a table of objects, cut to ``width`` columns of a terminal."""

    def __call__(
        self, found: Sequence[T_contra], now: datetime, *, with_namespace: bool, width: int | None = None
    ) -> str:
        """Return it."""
        ...


def print_list(ctx: typer.Context, resource: Resource, object_type: type[T], table: Table[T]) -> None:
    """List the objects of a kind, and leave: as the server sent them, or as a table."""
    options, read = global_options(ctx), reader(object_type)

    async def main() -> int:
        everywhere = options.all_namespaces
        async with connection.connect(options) as connected:
            namespace = "" if everywhere else connected.namespace
            page = await list_objects(
                connected.transport, resource, namespace, msgspec.Raw, label_selector=options.selector
            )
        if not options.is_table:
            print_objects(page.items, output=options.output, as_list=True, resource=resource)
        elif page.items:
            found = [read(bytes(raw)) for raw in page.items]
            print(table(found, datetime.now(UTC), with_namespace=everywhere, width=table_width(options)))
        else:
            print(f"No {resource.plural} found.", file=sys.stderr)
        return OK

    run(main)


def bound_holder(text: str, *, option: str = "--holder") -> Holder:
    """Return what ``option`` says, ``pod/NAME`` or ``execution/NAME``, as a holder."""
    kind, _, name = text.partition("/")
    kinds = {one.value.lower(): one for one in HolderKind}
    kinds |= {f"{word}s": one for word, one in kinds.items()}
    found = kinds.get(kind.lower())
    if found is None or not name:
        raise typer.BadParameter(f"{text!r} is neither pod/NAME nor execution/NAME", param_hint=option)
    return Holder(kind=found, name=name)


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

    def end(self) -> None:
        """Leave the line."""
        if self._said and self._is_terminal:
            print(file=sys.stderr, flush=True)
