"""Internal. ``kontinue bench FUNCTION``: keeps a number of Executions running and measures them from outside.

A closed loop: each of ``--concurrency`` lanes creates an Execution, waits for its end, and goes on. The figures are
summed up by ``bench_report``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.api.v1alpha1 import ENDED_PHASES, Phase
from kontinue.errors import ApiError
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.bench_report import BenchReport, counter_growth, format_report, parse_write_counters, summarize
from kontinue_engine.cli.connection import Connection, connect, run, say_target
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.execute import (
    ArgumentsOption,
    ParameterOption,
    merge_arguments,
    read_arguments,
)
from kontinue_engine.cli.objects import format_document
from kontinue_engine.cli.options import (
    GlobalOptions,
    OutputFormat,
    candidates,
    function_name,
    global_options,
    is_terminal,
)

_SETTLE_S: Final = 0.2
"""An end is seen as soon as it is durable; the server counts the write once it has answered its writer."""


class _Run:
    """Counts while the lanes run."""

    def __init__(self, count: int | None, until_s: float | None) -> None:
        self.latencies_s: list[float] = []
        self.phases: Counter[Phase] = Counter()
        self._left = count
        self._until_s = until_s

    def take(self) -> bool:
        """Tell whether one more Execution is wanted."""
        if self._until_s is not None and time.perf_counter() >= self._until_s:
            return False
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0


def command(
    ctx: typer.Context,
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", parser=function_name, autocompletion=candidates("functions"))
    ],
    param: ParameterOption = None,
    args: ArgumentsOption = "",
    concurrency: Annotated[int, typer.Option("-c", "--concurrency", min=1, help="Running at once.")] = 16,
    count: Annotated[int | None, typer.Option("--count", min=1, help="In all. Default: 200.")] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="DURATION", help="Start new ones for so long.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Run a function many times and report throughput, latency percentiles and API writes per Execution."""
    options = global_options(ctx)
    if options.output is OutputFormat.NAME:
        raise typer.BadParameter("prints figures, which have no names", param_hint="-o name")
    limit = duration_option(duration, "--duration")
    base = read_arguments(args)
    total = count if count is not None or limit is not None else 200

    async def main() -> int:
        async with connect(options) as connection:
            found = await connection.client.function(function)
            arguments = merge_arguments(base, param, found)
            say_target(options, connection, f"running {function}, {concurrency} at once")
            before = await _fetch_counters(connection)
            started_s = time.perf_counter()
            state = _Run(total, started_s + limit.total_seconds() if limit else None)
            progress = asyncio.create_task(_show_progress(options, state), name="progress")
            async with asyncio.TaskGroup() as lanes:
                for number in range(concurrency):
                    lanes.create_task(_run_lane(connection, function, arguments, state), name=f"lane {number}")
            progress.cancel()
            elapsed_s = time.perf_counter() - started_s
            await asyncio.sleep(_SETTLE_S)
            after = await _fetch_counters(connection)
        report = summarize(
            function=function,
            concurrency=concurrency,
            elapsed_s=elapsed_s,
            latencies_s=state.latencies_s,
            phases=state.phases,
            writes=counter_growth(before, after) if before is not None and after is not None else None,
        )
        print(_rendered(report, OutputFormat.JSON if as_json else options.output))
        return exit_codes.OK if report.all_completed else exit_codes.FAILED

    run(main)


async def _run_lane(connection: Connection, function: str, arguments: dict[str, Any], state: _Run) -> None:
    while state.take():
        started_s = time.perf_counter()
        handle = await connection.client.spawn(function, arguments)
        execution = await connection.client.wait_for_execution(handle, until=tuple(ENDED_PHASES))
        state.latencies_s.append(time.perf_counter() - started_s)
        state.phases[execution.phase] += 1


async def _show_progress(options: GlobalOptions, state: _Run) -> None:
    if options.quiet or not is_terminal(sys.stderr):
        return
    while True:
        await asyncio.sleep(1)
        print(f"  {len(state.latencies_s)} done", file=sys.stderr, flush=True)


async def _fetch_counters(connection: Connection) -> dict[str, int] | None:
    try:
        text = await connection.transport.send(requests.Request("GET", "/metrics", accept="*/*"), retries=False)
    except ApiError:
        return None
    return parse_write_counters(text.decode(errors="replace")) or None


def _rendered(report: BenchReport, output: OutputFormat) -> str:
    match output:
        case OutputFormat.JSON:
            return msgspec.json.encode(report).decode()
        case OutputFormat.YAML:
            return format_document(msgspec.to_builtins(report), output=output)
        case OutputFormat.TABLE | OutputFormat.WIDE | OutputFormat.NAME:
            return format_report(report)
