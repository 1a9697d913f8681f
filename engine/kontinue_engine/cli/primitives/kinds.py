"""Internal. How a kind of primitive is shown, and the verbs that all kinds have: list, status and delete.

The module of a kind says in a ``Kind`` what is its own, and adds its own verbs. ``koncli status`` reads the same.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import typer

from kontinue.client.client import Client
from kontinue.errors import KontinueError, NotFound, Unauthorized, Unavailable
from kontinue.kube.answers import reader
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.sync.objects.stored import Stored
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import (
    GROUPED,
    GROUPED_NAMES,
    GlobalOptions,
    OutputFormat,
    candidates,
    global_options,
    refuse_others,
    table_width,
    told_globals,
)
from kontinue_engine.cli.primitives.operations import OK, Progress, run, say, show, tell_error
from kontinue_engine.cli.text import format_table

T = TypeVar("T", bound=HasMetadata)
C = TypeVar("C", bound=Stored[Any])
R = TypeVar("R")
Told: TypeAlias = "tuple[str, dict[str, Any]]"
"""What became of an object: in words, and for programs."""


class Seen(msgspec.Struct, frozen=True):
    """One object as ``status`` shows it: to people, and to programs."""

    text: str
    fields: dict[str, Any]


class Help(msgspec.Struct, frozen=True, kw_only=True):
    """What the verbs that all kinds have say of themselves."""

    list: str
    status: str
    delete: str


class Kind(msgspec.Struct, Generic[T, C], frozen=True, kw_only=True):
    """A kind of primitive.

    Attributes:
        resource: where its objects are.
        object_type: what they are read as.
        client: makes the client of one, from its name.
        names: what completes their names, a function of ``kontinue_engine.cli.candidates``.
        columns: of ``list``.
        rows: one object in ``list``, the first line with its name.
        look: one object in ``status``.
        may_be_missing: one that does not exist is no error for ``delete``.
        help: of its verbs.
    """

    resource: Resource
    object_type: type[T]
    client: Callable[[str, Client], C]
    names: str
    columns: Sequence[str]
    rows: Callable[[T, datetime], Sequence[Sequence[str]]]
    look: Callable[[C], Awaitable[Seen]]
    help: Help
    may_be_missing: bool = False

    def of(self, connection: Connection, name: str) -> C:
        """Return the client of one object."""
        return self.client(name, connection.client)

    def table(
        self, documents: Sequence[msgspec.Raw], now: datetime, *, with_namespace: bool, width: int | None = None
    ) -> str:
        """Return the table of ``list``, cut to ``width`` columns of a terminal.

        Raises:
            ApiError: an object is of another version.
        """
        read, lines = reader(self.object_type), list[Sequence[str]]()
        for one in (read(bytes(raw)) for raw in documents):
            namespace = one.metadata.namespace
            for row in self.rows(one, now):
                lines.append([namespace, *row] if with_namespace else row)
                namespace = ""
        return format_table([*(["NAMESPACE"] if with_namespace else []), *self.columns], lines, width=width)


def add_common_verbs(app: typer.Typer, kind: Kind[T, C]) -> None:
    """Add to the verbs of a kind those that all kinds have."""
    app.command("list", help=kind.help.list)(list_verb(kind))
    app.command("status", help=kind.help.status)(status_verb(kind))
    app.command("delete", help=kind.help.delete)(delete_verb(kind))
    app.callback()(_check)
    for command in app.registered_commands:
        command.epilog = told_globals(_taken_by(command.name))


def _check(ctx: typer.Context) -> None:
    """Refuse options that would mean nothing: who deletes one by its name and a selector means something else."""
    parent = "" if ctx.parent is None else ctx.parent.info_name
    verb = f"{parent} {ctx.info_name} {ctx.invoked_subcommand}"
    refuse_others(global_options(ctx), verb, _taken_by(ctx.invoked_subcommand))


def _taken_by(verb: str | None) -> frozenset[str]:
    return GROUPED if verb == "list" else GROUPED_NAMES


def list_verb(kind: Kind[T, C]) -> Callable[[typer.Context], None]:
    """Return the verb that lists the objects of a kind: as the server sent them, or as a table."""

    def verb(ctx: typer.Context) -> None:
        options, resource = global_options(ctx), kind.resource

        async def main() -> int:
            everywhere = options.all_namespaces
            async with connect(options) as connection:
                namespace = "" if everywhere else connection.namespace
                page = await list_objects(
                    connection.transport, resource, namespace, msgspec.Raw, label_selector=options.selector
                )
            if not options.is_table:
                print_objects(page.items, output=options.output, as_list=True, resource=resource)
            elif page.items:
                width = table_width(options)
                print(kind.table(page.items, datetime.now(UTC), with_namespace=everywhere, width=width))
            else:
                print(f"No {resource.plural} found.", file=sys.stderr)
            return OK

        run(main)

    return verb


def status_verb(kind: Kind[T, C]) -> Callable[..., None]:
    """Return the verb that shows an object of a kind."""
    named = typer.Argument(metavar="NAME", autocompletion=candidates(kind.names))

    def verb(ctx: typer.Context, name: str = named) -> None:
        options = global_options(ctx)

        async def main() -> int:
            async with connect(options) as connection:
                seen = await kind.look(kind.of(connection, name))
            if options.is_table:
                print(seen.text)
            else:
                show(options, kind.resource, name, "", seen.fields)
            return OK

        run(main)

    return verb


def delete_verb(kind: Kind[T, C]) -> Callable[..., None]:
    """Return the verb that deletes objects of a kind. One that cannot be deleted keeps no other from it."""
    named = typer.Argument(metavar="NAME...", autocompletion=candidates(kind.names))

    def verb(ctx: typer.Context, names: list[str] = named) -> None:
        options = global_options(ctx)

        async def main() -> int:
            async with connect(options) as connection:
                return await _delete_each(kind, connection, options, names)

        run(main)

    return verb


async def _delete_each(kind: Kind[T, C], connection: Connection, options: GlobalOptions, names: Sequence[str]) -> int:
    """Delete objects, say what became of each, and return the exit code of what went wrong first."""
    codes, deleted = [OK], list[str]()
    for number, name in enumerate(names, start=1):
        try:
            was_there = await _deleted(kind, kind.of(connection, name))
        except (Unavailable, Unauthorized) as error:  # all others would take as long, to end like this
            _note_rest(error, deleted, names[number:])
            codes.append(tell_error(error))
            break
        except KontinueError as error:
            connection.note_place(error)
            codes.append(tell_error(error))
            continue
        if was_there:
            deleted.append(name)
        if was_there or options.output is not OutputFormat.NAME:  # a name there is one that was deleted
            what = "deleted" if was_there else "was not there"
            say(options, kind.resource, name, what, {"deleted": was_there})
    return next(filter(None, codes), OK)


def _note_rest(error: KontinueError, deleted: Sequence[str], untried: Sequence[str]) -> None:
    """Note in an error that ends a deletion of several what it has left."""
    told = {"deleted before": deleted, "not tried": untried}
    if parts := [f"{what}: {', '.join(names)}" for what, names in told.items() if names]:
        error.add_note(f"({'; '.join(parts)})")


async def _deleted(kind: Kind[T, C], client: C) -> bool:
    """Delete an object; False: there was none, which is no error for this kind.

    Raises:
        NotFound: there was none, of another kind.
    """
    try:
        await Stored.delete(client)  # that of locks does not tell whether there was one
    except NotFound:
        if not kind.may_be_missing:
            raise
        return False
    return True


def carry_out(
    ctx: typer.Context,
    kind: Kind[T, C],
    name: str,
    deed: Callable[[C], Awaitable[R]],
    told: Callable[[R], Told],
) -> None:
    """Do something with one object, and say what.

    Args:
        ctx: of the verb.
        kind: of the object.
        name: of the object.
        deed: what is done with its client.
        told: what became of the object, by what the deed returned.
    """
    options = global_options(ctx)

    async def main() -> int:
        async with connect(options) as connection:
            done = await deed(kind.of(connection, name))
        what, fields = told(done)
        say(options, kind.resource, name, what, fields)
        return OK

    run(main)


def wait_for(
    ctx: typer.Context,
    kind: Kind[T, C],
    name: str,
    wait: Callable[[C, Callable[[T], None]], Awaitable[T]],
    *,
    progress: Callable[[T], str],
    told: Callable[[T], Told],
) -> None:
    """Wait for something of one object, and say what has become of it.

    Args:
        ctx: of the verb.
        kind: of the object.
        name: of the object.
        wait: waits with its client, and hands on each state on the way.
        progress: what a state still lacks, in words.
        told: as of ``carry_out``.
    """
    shown = Progress(global_options(ctx))

    async def deed(client: C) -> T:
        with shown:
            return await wait(client, lambda state: shown.show(progress(state)))

    carry_out(ctx, kind, name, deed, told)
