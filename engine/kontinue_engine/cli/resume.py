"""Internal. ``kontinue resume NAME...``: ends what Executions wait for, or Suspensions.

Whoever types it at a terminal is asked for what a Suspension wants to be told, by its schema; a script says it with
``--payload``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.api import labels
from kontinue.api.meta import PartialObjectMetadata
from kontinue.api.v1alpha1 import OPEN_SUSPENSIONS_SELECTOR, Suspension
from kontinue.client.arguments import first_problem
from kontinue.errors import InvalidPayload
from kontinue.kube import requests
from kontinue_engine.cli.asking import ask_for, can_ask
from kontinue_engine.cli.connection import Connection
from kontinue_engine.cli.executions import suggesting
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.options import (
    candidates,
    execution_name,
    global_options,
    names_suspension,
    suspension_name,
    text_option,
)
from kontinue_engine.cli.selection import Change, Outcome, YesOption, change_each
from kontinue_engine.cli.signatures import decode_schema, type_name

_NOT_GIVEN: Final = msgspec.UNSET


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return candidates("suspensions" if ctx.params.get("suspension") else "suspended_executions")(ctx, incomplete)


def command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Of Executions; of Suspensions with --suspension.", autocompletion=_complete
        ),
    ] = None,
    suspension: Annotated[bool, typer.Option("--suspension", help="NAME is a Suspension.")] = False,  # noqa: FBT002
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload", metavar="JSON|@FILE|-", help="What the function is told. A terminal is asked for it."
        ),
    ] = None,
    recursive: Annotated[  # noqa: FBT002
        bool, typer.Option("-r", "--recursive", help="Also what the Execution has started waits no longer.")
    ] = False,
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """End the sleeps and suspends of Executions, or Suspensions, by name or with -l all of a selection.

    `kontinue suspensions` lists them.
    """
    options = global_options(ctx)
    if suspension and recursive:
        raise typer.BadParameter("a Suspension has nothing below it", param_hint="-r")
    if suspension and options.selector:
        raise typer.BadParameter("selects Executions, not Suspensions", param_hint="-l")
    value = _read_payload(payload)
    asks = value is _NOT_GIVEN and not recursive and not options.selector and can_ask()

    async def resume(connection: Connection, name: str) -> Sequence[Outcome]:
        if suspension or names_suspension(name):
            return [await _resume_one(connection, suspension_name(name), value, asks=asks)]
        name = execution_name(name)
        waiting = [] if recursive else await _fetch_waiting(connection, name)
        if value is _NOT_GIVEN and any(_reads_payload(one) for one in waiting):
            answers = [(one, _answer(one, asks=asks)) for one in waiting]  # all of them, before anything is changed
            for one, answer in answers:
                await connection.client.resume_suspension(one, answer)
            return [_resumed(one.metadata.name) for one in waiting]
        async with suggesting(connection, requests.EXECUTIONS, name):
            given = None if value is _NOT_GIVEN else value
            resumed = await connection.client.resume_execution(name, recursive=recursive, payload=given)
        return [_resumed(one.metadata.name) for one in resumed]

    change = Change(
        apply=resume,
        select=_select,
        what="Suspension" if suspension else "Execution",
        doing="resuming",
        ask="Resume",
        none_selected="No Executions match that wait for something which can be resumed.",
    )
    change_each(options, names, change, yes=yes)


async def _select(connection: Connection, selector: str) -> Sequence[str]:
    """Return the names of those that the selector means and that wait for something which can be resumed."""
    where = connection.namespace
    found = await list_objects(
        connection.transport,
        requests.EXECUTIONS,
        where,
        PartialObjectMetadata,
        label_selector=selector,
        only_metadata=True,
    )
    names = {one.metadata.name for one in found.items}
    page = await list_objects(
        connection.transport, requests.SUSPENSIONS, where, Suspension, field_selector=OPEN_SUSPENSIONS_SELECTOR
    )
    return list(dict.fromkeys(one.spec.execution for one in page.items if one.spec.execution in names))


async def _fetch_waiting(connection: Connection, name: str) -> Sequence[Suspension]:
    page = await list_objects(
        connection.transport,
        requests.SUSPENSIONS,
        connection.namespace,
        Suspension,
        label_selector=f"{labels.PARENT}={labels.label_value(name)}",
        field_selector=OPEN_SUSPENSIONS_SELECTOR,
    )
    return [one for one in page.items if one.spec.execution == name]


async def _resume_one(connection: Connection, name: str, value: Any, *, asks: bool) -> Outcome:
    async with suggesting(connection, requests.SUSPENSIONS, name):
        found = await connection.client.get_suspension(name)
        answer = _answer(found, asks=asks) if value is _NOT_GIVEN and found.is_open else value
        await connection.client.resume_suspension(found, None if answer is _NOT_GIVEN else answer)
    return _resumed(name)


def _answer(suspension: Suspension, *, asks: bool) -> Any:
    """Return what a Suspension is told that nothing was said for.

    Raises:
        InvalidPayload: it has to be told something, and nobody is there to be asked.
    """
    if not _reads_payload(suspension):
        return None
    spec = suspension.spec
    schema, name = decode_schema(spec.payload_schema), suspension.metadata.name
    if asks:
        typer.echo(f"{spec.display_name or name} (Suspension {name})", err=True)
        if spec.description:
            typer.echo(spec.description, err=True)
        return ask_for(schema)
    if first_problem(msgspec.json.encode(schema), None) is None:
        return None
    raise InvalidPayload(
        f"Suspension {name} waits to be told something: {type_name(schema, schema)}. Say it with --payload JSON "
        "(from a file: --payload @FILE), or answer at a terminal"
    )


def _reads_payload(suspension: Suspension) -> bool:
    return not isinstance(suspension.spec.payload_schema, msgspec.UnsetType)


def _resumed(name: str) -> Outcome:
    return Outcome(name, "resumed", requests.SUSPENSIONS)


def _read_payload(text: str | None) -> Any:
    """Return the value of ``--payload``; UNSET where it is not given."""
    if text is None:
        return _NOT_GIVEN
    content, source = text_option(text, "--payload")
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{source} is no JSON: {error}", param_hint="--payload") from error
