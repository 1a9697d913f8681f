"""Internal. Changes what a verb is about, one object after the other: those named, or a selection that is confirmed.

Used by ``cancel``, ``skip``, ``retry``, ``resume`` and ``schedules``. What cannot be changed keeps nothing else from
it; the exit code and a line at the end tell.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import msgspec
import typer

from kontinue.api.v1alpha1 import Execution
from kontinue.errors import KontinueError
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.asking import confirm
from kontinue_engine.cli.connection import Connection, connect, run, say_target
from kontinue_engine.cli.executions import fetch_raw
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.objects import format_document, tell
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, is_terminal, require_choice
from kontinue_engine.cli.streams import telling_what_was_done
from kontinue_engine.cli.text import plural

YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Don't ask (with -l).")]
_NAMED: Final = 5
"""Objects named in a question; judgement."""


class Outcome(msgspec.Struct, frozen=True):
    """What was done, for people and scripts: to which object, and a word for it, as in "canceled"."""

    name: str
    done: str
    resource: Resource = requests.EXECUTIONS


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb does.

    Attributes:
        apply: changes one object of that name.
        select: returns the names of those that the selector of the command line means.
        what: the kind of object.
        doing: as in "canceling 3 Executions".
        ask: as in "Cancel 2 Executions: x, y?".
        none_selected: said if the selector means none.
    """

    apply: Callable[[Connection, str], Awaitable[Sequence[Outcome]]]
    select: Callable[[Connection, str], Awaitable[Sequence[str]]]
    what: str = "Execution"
    doing: str
    ask: str
    none_selected: str


def change_each(options: GlobalOptions, names: Sequence[str] | None, change: Change, *, yes: bool) -> None:
    """Change objects one after the other, and say so; ends the process with the exit code.

    Args:
        options: of the command line; ``selector`` stands for names.
        names: of the objects.
        change: what to do to each.
        yes: do not ask.

    Raises:
        BadParameter: names and a selector, or neither.
    """
    require_choice(options, names, change.what)

    async def main() -> int:
        async with connect(options) as connection:
            targets = list(names or await change.select(connection, options.selector))
            if not targets:
                print(change.none_selected, file=sys.stderr)
                return exit_codes.OK
            say_target(options, connection, f"{change.doing} {plural(len(targets), change.what)}")
            if options.selector and not yes and not _confirmed(change, targets):
                return exit_codes.ERROR
            outcomes: list[Outcome] = []
            failures = 0
            for target in targets:
                try:
                    done = await change.apply(connection, target)
                except KontinueError as error:
                    failures += 1
                    print(f"error: {error}", file=sys.stderr)
                    continue
                outcomes += done
                with telling_what_was_done():
                    for one in done:
                        tell(options, one.resource, one.name, one.done)
            with telling_what_was_done():
                await _print_objects(connection, options, outcomes)
        if failures and len(targets) > 1:
            print(f"{failures} of {plural(len(targets), change.what)} left as they were", file=sys.stderr)
        return exit_codes.ERROR if failures else exit_codes.OK

    run(main)


def executions_where(
    is_selected: Callable[[Execution], bool],
) -> Callable[[Connection, str], Awaitable[Sequence[str]]]:
    """Return what finds the Executions of a selector that also satisfy ``is_selected``."""

    async def select(connection: Connection, selector: str) -> Sequence[str]:
        page = await list_objects(
            connection.transport, requests.EXECUTIONS, connection.namespace, Execution, label_selector=selector
        )
        return [item.metadata.name for item in page.items if is_selected(item)]

    return select


def is_live(execution: Execution) -> bool:
    """Tell whether the Execution has not ended."""
    return not execution.phase.is_terminal


async def _print_objects(connection: Connection, options: GlobalOptions, outcomes: Sequence[Outcome]) -> None:
    """Print the changed objects as they are now, if that is asked for."""
    if options.is_table or options.output is OutputFormat.NAME:
        return
    found = [
        msgspec.json.decode(await fetch_raw(connection.transport, one.resource, connection.namespace, one.name))
        for one in outcomes
    ]
    if found:
        document = found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}
        print(format_document(document, output=options.output))


def _confirmed(change: Change, targets: Sequence[str]) -> bool:
    count = plural(len(targets), change.what)
    if not is_terminal(sys.stdin):
        print(f"error: {count} selected; confirm with -y", file=sys.stderr)
        return False
    more = f" and {len(targets) - _NAMED} more" if len(targets) > _NAMED else ""
    return confirm(f"{change.ask} {count}: {', '.join(targets[:_NAMED])}{more}?")
