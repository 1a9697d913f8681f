"""Internal. ``kontinue replay [NAME...] MODULE:APP``: do recorded Executions fit the code in this folder?

Reads Executions, from the server or from files, and has a process of its own replay them: nothing is started, and
nothing is written anywhere. ``kontinue_engine.replaying`` does the work.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kontinue.api import labels
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Execution
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.durations import duration_option
from kontinue_engine.cli.executions import fetch_execution, with_whole_memo
from kontinue_engine.cli.listing import list_objects
from kontinue_engine.cli.options import GlobalOptions, execution_name, global_options, note, table_width
from kontinue_engine.cli.replay_report import Report, format_reports, report_of
from kontinue_engine.errors import AppLoadFailedError, MemoUnreadableError
from kontinue_engine.kube import memo_pages
from kontinue_engine.replaying.histories import History, read_histories
from kontinue_engine.replaying.process import DEFAULT_TIMEOUT_S, ReplayProcess
from kontinue_engine.replaying.verdicts import Finding, Loaded, Verdict


def command(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[NAME]... MODULE:APP")],
    every: Annotated[  # noqa: FBT002
        bool, typer.Option("--all", help="All Executions of the app's functions that have not ended.")
    ] = False,
    file: Annotated[
        list[str] | None, typer.Option("-f", "--file", help="What `kubectl get -o yaml` wrote; - is stdin.")
    ] = None,
    app_dir: Annotated[Path, typer.Option(help="Folder that the module is imported from.", file_okay=False)] = Path(),
    timeout: Annotated[str, typer.Option(help="For the replay of one Execution.")] = f"{DEFAULT_TIMEOUT_S:g}s",
) -> None:
    """Replay recorded Executions against the code in this folder, and tell the first step that differs.

    By name also what has been archived.
    Nothing runs but the functions' own bodies, up to where the records end; nothing is written. The exit code is 1 if
    one of them does not fit.
    """
    options = global_options(ctx)
    *names, app = words
    names = [execution_name(name) for name in names]
    if ":" not in app:
        raise typer.BadParameter(f"{app!r} is no MODULE:APP: the last argument says which code to replay against")
    if not (names or file or every or options.selector):
        raise typer.BadParameter("say which Executions: names, --all, a selector (-l), or a file (-f)")
    if file and (every or options.selector):
        raise typer.BadParameter("a file is replayed as a whole, or by names: --all and -l ask the server")
    limit = duration_option(timeout, "--timeout")
    timeout_s = limit.total_seconds() if limit else DEFAULT_TIMEOUT_S
    with ReplayProcess(app, str(app_dir), timeout_s=timeout_s) as process:
        loaded = _load(process)
        if file:
            histories = _from_files(file, names)
            raise typer.Exit(_print([_check(process, history) for history in histories], options, loaded))

        async def main() -> int:
            async with connect(options) as connection:
                reports = [
                    await asyncio.to_thread(_check, process, history)
                    async for history in _from_server(connection, options, names, loaded)
                ]
            if not reports:
                note(options, f"No Executions of functions of {app} that have not ended.")
            return _print(reports, options, loaded)

        run(main)


def _load(process: ReplayProcess) -> Loaded:
    try:
        return process.load()
    except AppLoadFailedError as error:
        print(error.traceback, end="", file=sys.stderr)
        raise


def _check(process: ReplayProcess, history: History) -> Report:
    verdict = Verdict(finding=Finding.UNCHECKED, message=history.problem)
    return report_of(history.execution, verdict if history.problem else process.check(history.execution))


def _print(reports: Sequence[Report], options: GlobalOptions, loaded: Loaded) -> int:
    if reports:
        places = {report.namespace for report in reports}
        with_namespace = options.all_namespaces or len(places) > 1
        text = format_reports(
            reports,
            output=options.output,
            build=loaded.build,
            with_namespace=with_namespace,
            width=table_width(options),
        )
        print(text, end="\n" if text else "")
    is_good = all(report.verdict.finding is Finding.REPLAYS for report in reports)
    return exit_codes.OK if is_good else exit_codes.ERROR


def _from_files(sources: Sequence[str], names: Collection[str]) -> Iterator[History]:
    histories = read_histories([(source, _read(source)) for source in sources])
    missing = set(names) - {history.execution.metadata.name for history in histories}
    if missing:
        raise typer.BadParameter(f"no Execution {', '.join(sorted(missing))} in {', '.join(sources)}")
    return (history for history in histories if not names or history.execution.metadata.name in names)


def _read(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}", param_hint="--file") from error


async def _from_server(
    connection: Connection, options: GlobalOptions, names: Sequence[str], loaded: Loaded
) -> AsyncIterator[History]:
    for name in names:
        yield await _whole(connection, await fetch_execution(connection.transport, connection.namespace, name))
    if names:
        return
    namespace = "" if options.all_namespaces else connection.namespace
    found = await list_objects(
        connection.transport,
        requests.EXECUTIONS,
        namespace,
        Execution,
        label_selector=options.selector,
        field_selector=LIVE_PHASES_SELECTOR,
    )
    for execution in found.items:
        is_ours = execution.metadata.labels.get(labels.WORKER_GROUP) == loaded.group
        if is_ours or execution.spec.function in loaded.functions:
            yield await _whole(connection, execution)


async def _whole(connection: Connection, execution: Execution) -> History:
    try:
        return History(execution=await with_whole_memo(connection, execution))
    except (memo_pages.PageMissingError, MemoUnreadableError) as error:
        return History(execution=execution, problem=str(error))
