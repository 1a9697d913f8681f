"""Internal. ``kontinue wait NAME...``: returns when Executions have ended, or are as they are to be.

The exit code says how they ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Annotated, Final

import typer

from kontinue.api.v1alpha1 import ENDED_PHASES, Phase
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.execute import TimeoutOption
from kontinue_engine.cli.executions import choose_names, print_executions, suggesting
from kontinue_engine.cli.following import follow, say_detached, say_timeout
from kontinue_engine.cli.options import AnyNamesArgument, GlobalOptions, global_options, require_choice
from kontinue_engine.cli.progress import NoProgress

_ENDED: Final = "ended"
_GOALS: Final = {_ENDED: ENDED_PHASES, **{phase.lower(): frozenset({phase}) for phase in Phase}}


def _goal(text: str) -> str:
    goal = text.lower().removeprefix("phase=")
    if goal not in _GOALS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_GOALS)}", param_hint="--for")
    return goal


def command(
    ctx: typer.Context,
    names: AnyNamesArgument = None,
    goal: Annotated[
        str, typer.Option("--for", metavar="ended|PHASE", parser=_goal, help="What to wait for, e.g. --for=completed.")
    ] = _ENDED,
    timeout: TimeoutOption = None,
) -> None:
    """Wait until all of these Executions have ended or are Blocked, or are in a phase; print the phase of each.

    The exit code is that of the first one that did not complete, or is not as it was to be.
    """
    options = global_options(ctx)
    require_choice(options, names)
    limit = duration_option(timeout, "--timeout")
    left: list[str] = []
    seen: list[str] = []

    async def main() -> int:
        code = exit_codes.OK
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + limit.total_seconds() if limit is not None else None
        async with connect(options) as connection:
            left.extend(await choose_names(connection, options, names))
            is_one = bool(names) and len(left) == 1
            while left:
                left_s = None if ends_s is None else timedelta(seconds=ends_s - loop.time())
                try:
                    phase = await _wait(connection, options, left[0], goal, left_s)
                except TimeoutError:
                    return say_timeout(options, left[0], limit or timedelta())
                name = left.pop(0)
                seen.append(name)
                if options.is_table:
                    print(phase.value if is_one else f"{name} {phase.value}", flush=True)
                code = code or code_for(phase, goal)
            if not options.is_table:
                await print_executions(connection, options, seen, as_list=not is_one)
        return code

    run(main, on_interrupt=lambda: _leave(options, left))


async def _wait(connection: Connection, options: GlobalOptions, name: str, goal: str, limit: timedelta | None) -> Phase:
    until: Collection[Phase] = ENDED_PHASES | _GOALS[goal]  # what has ended comes no nearer to it
    progress = NoProgress(None if options.quiet else sys.stderr)
    async with suggesting(connection, requests.EXECUTIONS, name):
        return (await follow(connection, name, progress, until=until, limit=limit)).phase


def code_for(phase: Phase, goal: str) -> int:
    """Return the exit code for an Execution that was to reach a goal, and is in this phase."""
    if goal != _ENDED and phase in _GOALS[goal]:
        return exit_codes.OK
    code = exit_codes.exit_code_of(phase)
    return code if goal in {_ENDED, Phase.COMPLETED.lower()} else code or exit_codes.ERROR


def _leave(options: GlobalOptions, left: Sequence[str]) -> int:
    return say_detached(options, left[0], options.namespace or "") if left else exit_codes.DETACHED
