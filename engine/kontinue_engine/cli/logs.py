"""Internal. ``kontinue logs NAME``: what an Execution and its children printed, from the log files of ``kontinue dev``.

In a cluster the lines are in the logs of the worker pods; then this verb says how to get at them.
Which Executions belong to the tree is asked of the server; while it is away, names alone decide.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.api.v1alpha1 import ENDED_PHASES
from kontinue.client.tree import ExecutionTree
from kontinue.errors import ConfigError, KontinueError, Unavailable
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.dev.log_files import rotated_path
from kontinue_engine.cli.execution_tree import executions_of
from kontinue_engine.cli.log_lines import format_log_line, parse_log_line
from kontinue_engine.cli.options import GlobalOptions, NameArgument, OutputFormat, global_options

WORKER_LOGS: Final = "worker*.jsonl"
"""Of one worker, or of several that share a group."""
_POLL_S: Final = 0.3
_KEPT_UNKNOWN: Final = 5000
"""Lines of Executions that the tree does not know yet: a child prints before its creation is seen here."""
_MAX_READ_BYTES: Final = 8 * 1024 * 1024


class NoLogsError(KontinueError):
    """No log files of a ``kontinue dev`` were found."""


class LineTail:
    """Reads the complete lines that were appended to a file since the last call; starts anew when it was rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = -1
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Yield the lines that are new."""
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset, self._rest = inode, 0, b""
                file.seek(self._offset)
                while chunk := file.read(_MAX_READ_BYTES):
                    self._offset += len(chunk)
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    yield from lines
        except FileNotFoundError:
            return


class LogTails:
    """Reads what was appended to the log files of all workers, in the order of time; finds new files."""

    def __init__(self, logs_dir: Path) -> None:
        self._logs_dir = logs_dir
        self._tails: dict[Path, LineTail] = {}

    def read_all(self) -> Iterator[Mapping[str, Any]]:
        """Yield all lines, from before the last rotation, too."""
        rotated = [LineTail(rotated_path(path)) for path in self._find()]
        yield from _in_order(rotated)
        yield from self.read()

    def read(self) -> Iterator[Mapping[str, Any]]:
        """Yield the lines that are new."""
        for path in self._find():
            self._tails.setdefault(path, LineTail(path))
        yield from _in_order(self._tails.values())

    def _find(self) -> list[Path]:
        return sorted(self._logs_dir.glob(WORKER_LOGS))


def _in_order(tails: Iterable[LineTail]) -> Iterator[Mapping[str, Any]]:
    """Merge without reading more of any file than is needed: it may be as large as a log may get."""
    parsed = ((fields for line in tail.read() if (fields := parse_log_line(line)) is not None) for tail in tails)
    return heapq.merge(*parsed, key=lambda fields: str(fields.get("time", "")))


class TreeFilter:
    """Chooses the lines of one tree whose members become known over time."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace
        self._uids: set[str] = set()
        self._unknown: deque[Mapping[str, Any]] = deque(maxlen=_KEPT_UNKNOWN)

    def learn(self, tree: ExecutionTree) -> list[Mapping[str, Any]]:
        """Take in the members of the tree; return earlier lines that turn out to be theirs."""
        uids = {execution.metadata.uid for execution in executions_of(tree)}
        if uids <= self._uids:
            return []
        self._uids |= uids
        late = [fields for fields in self._unknown if self._is_ours(fields)]
        self._unknown = deque((fields for fields in self._unknown if not self._is_ours(fields)), maxlen=_KEPT_UNKNOWN)
        return late

    def choose(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether the line belongs to the tree as known now."""
        if "execution" not in fields:
            return False
        if self._is_ours(fields):
            return True
        if self._uids:
            self._unknown.append(fields)
            return False
        # The server is away: a child's name starts with its parent's.
        return str(fields["execution"]).startswith(f"{self._name}-")

    def _is_ours(self, fields: Mapping[str, Any]) -> bool:
        if self._uids and "uid" in fields:
            return fields["uid"] in self._uids
        return fields.get("execution") == self._name and fields.get("namespace", self._namespace) == self._namespace


def command(
    ctx: typer.Context,
    name: NameArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it has ended.")] = False,  # noqa: FBT002
    data_dir: Annotated[Path | None, typer.Option(help="Of kontinue dev. Default: found like the server.")] = None,
) -> None:
    """Print the output and log lines of an Execution and of its children; -o json prints them as they are stored."""
    options = global_options(ctx)
    logs_dir = find_logs(data_dir, options.kubeconfig, os.environ.get("KUBECONFIG", ""), Path.cwd())

    async def main() -> int:
        try:
            async with connect(options) as connection:
                return await _print_logs(connection, options, name, logs_dir, follow=follow)
        except ConfigError:
            print("the server is away: choosing lines by name", file=sys.stderr)
        lines = TreeFilter(name, options.namespace or "default")
        _print_new(options, lines, LogTails(logs_dir).read_all())
        return exit_codes.OK

    run(main, on_interrupt=lambda: exit_codes.DETACHED)


async def _print_logs(
    connection: Connection, options: GlobalOptions, name: str, logs_dir: Path, *, follow: bool
) -> int:
    lines = TreeFilter(name, connection.namespace)
    tree = await connection.client.get_tree(name)
    lines.learn(tree)
    tails = LogTails(logs_dir)
    read = tails.read_all
    while True:
        ended = tree.root.phase in ENDED_PHASES
        _print_new(options, lines, read())
        read = tails.read
        if not follow or ended:
            return exit_codes.OK
        await asyncio.sleep(_POLL_S)
        try:
            tree = await connection.client.get_tree(name)
        except Unavailable:
            continue  # a restarting server: the file is still there
        for fields in lines.learn(tree):
            _print_fields(options, fields)


def _print_new(options: GlobalOptions, lines: TreeFilter, new: Iterator[Mapping[str, Any]]) -> None:
    for fields in new:
        if fields.get("level") != "debug" and lines.choose(fields):
            _print_fields(options, fields)
    sys.stdout.flush()


def _print_fields(options: GlobalOptions, fields: Mapping[str, Any]) -> None:
    if options.output is OutputFormat.JSON:
        print(msgspec.json.encode(fields).decode())
    else:
        print(format_log_line(fields, color=options.colors_on(sys.stdout)))


def find_logs(data_dir: Path | None, kubeconfig: str | None, variable: str, start: Path) -> Path:
    """Return the folder of the log files: of ``data_dir``, beside the kubeconfig in use, or of ``.kontinue`` above.

    Raises:
        NoLogsError: there is none; says where the lines of a worker in a cluster are.
    """
    if data_dir is not None:
        candidates = [data_dir]
    elif kubeconfig:
        candidates = [Path(kubeconfig).parent]
    elif variable:
        candidates = [Path(part).parent for part in variable.split(os.pathsep) if part]
    else:
        candidates = [folder / ".kontinue" for folder in (start, *start.parents)]
    for candidate in candidates:
        if (candidate / "logs").is_dir():
            return candidate / "logs"
    raise NoLogsError(
        f"no log files of a `kontinue dev` in {candidates[0]}. Where is its data directory? --data-dir DIR. "
        'In a cluster, workers log JSON lines to stdout: kubectl logs POD | grep \'"execution":"NAME"\''
    )
