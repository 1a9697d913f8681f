"""Internal. What the verbs of all kinds of locks share: options, and a command that runs while something is held."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import typer

from kontinue.api.konductor.group import Holder
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.sync import Lock
from kontinue.sync.holding.held import Holding, Keeper
from kontinue.sync.objects.stored import Stored
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.durations import check_variable
from kontinue_engine.cli.options import GlobalOptions, global_options, is_terminal
from kontinue_engine.cli.primitives.commands import Signals, ended_by_signals, exit_code, run_command
from kontinue_engine.cli.primitives.kinds import Kind
from kontinue_engine.cli.primitives.operations import OK, Progress, bound_holder, refuse_empty, run, say

T = TypeVar("T", bound=HasMetadata)
C = TypeVar("C", bound=Stored[Any])
H = TypeVar("H", bound=Holding)

_KINDS: Final = frozenset({"pod", "pods", "execution", "executions"})

HolderOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=refuse_empty,
        help="Who holds it: any name, or pod/NAME or execution/NAME, whose end releases it. Default: "
        "$KONDUCTOR_HOLDER_ID, $HOSTNAME or the host's name.",
    ),
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="KONDUCTOR_TIMEOUT",
        callback=check_variable,
        help="Give up after e.g. 30m; 0 does not wait. Default: never.",
    ),
]
TtlOption = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long the lock lasts without renewal. Default, and 0: its object's ttl."),
]
TokenOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only the lock with this token, not a later one of the same holder.")
]
CommandArgument = Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What is run.")]


def holder_of(text: str) -> str | Holder | None:
    """Return what ``--holder`` says: a bound holder where it names a kind, else a name like any other; or None."""
    return bound_holder(text) if text.partition("/")[0].lower() in _KINDS and "/" in text else text or None


def take_lock(
    options: GlobalOptions,
    resource: Resource,
    name: str,
    take: Callable[[Connection, Callable[[str], None]], Awaitable[Lock]],
    *,
    verb: str = "locked",
) -> None:
    """Take a lock and leave, for somebody who releases it himself. Who is told to end while it waits does not wait on.

    Args:
        options: of the command line.
        resource: the kind.
        name: of the object.
        take: takes the lock, told what says what it waits for.
        verb: what became of the object.
    """
    progress = Progress(options)

    async def main(signals: Signals) -> int:
        async with connect(options) as connection:
            with progress:
                lock = await take(connection, progress.show)
            signals.keep()  # it is taken, and whoever releases it has to know
        told = {"holder": lock.holder, "token": lock.token}
        say(options, resource, name, f"{verb} by {lock.holder}, token {lock.token}", told)
        return OK

    run(lambda: ended_by_signals(main))


class CommandFailedError(Exception):
    """The command that something is held for has ended with another exit status than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}" if status >= 0 else f"ended by signal {-status}")
        self.status = status


def hold_and_run(
    ctx: typer.Context,
    kind: Kind[T, C],
    name: str,
    command: Sequence[str],
    hold: Callable[[C, Callable[[str], None]], Keeper[H]],
) -> None:
    """Run a command while something of one object is held, and leave with its exit code.

    Args:
        ctx: of the verb.
        kind: of the object.
        name: of the object.
        command: what to run.
        hold: returns the scope of what is held, by its client and what says whom it waits for.
    """
    options = global_options(ctx)
    progress = Progress(options)

    async def main() -> int:
        async with connect(options) as connection:
            with progress:
                return await run_held(hold(kind.of(connection, name), progress.show), command, progress)

    run(main)


async def run_held(scope: Keeper[H], command: Sequence[str], progress: Progress, *, must_succeed: bool = False) -> int:
    """Run a command while a lock, or a permit, is held; return its exit status. Once that is lost the command is ended.

    The command has a process group of its own, unless it could read from a terminal: there it would be stopped.

    Args:
        scope: of what is held.
        command: what to run.
        progress: says what is waited for before.
        must_succeed: any exit status but 0 is a failure of what it is held for.

    Raises:
        LockLost: it was lost, and the command was ended, or had just ended.
        KontinueError: it could not be taken.
    """

    async def work(signals: Signals) -> int:
        async with scope as held:
            progress.leave()
            own_group = not is_terminal(sys.stdin)
            status = await run_command(command, signals, environment=_environment(held), own_group=own_group)
            if must_succeed and status:
                raise CommandFailedError(status)
        return exit_code(status)

    try:
        return await ended_by_signals(work)
    except CommandFailedError as failure:
        return exit_code(failure.status)


def _environment(held: Holding) -> dict[str, str]:
    token = {"KONDUCTOR_TOKEN": str(held.token)} if isinstance(held, Lock) else {}
    return {**os.environ, "KONDUCTOR_HOLDER_ID": held.holder, **token}
