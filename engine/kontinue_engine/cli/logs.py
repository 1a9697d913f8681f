"""Internal. ``kontinue logs NAME``: what an Execution, its children and their Jobs printed.

Lines of functions come from the log files of ``kontinue dev`` or, where there are none, from the Pods of the workers;
those of Jobs, and of Pods that functions run, from these Pods (``pod_lines``). Which Executions belong to the tree is
asked of the server; while it is away, names alone decide.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.api.v1alpha1 import ENDED_PHASES
from kontinue.client.ended_watch import has_come_to
from kontinue.client.tree import ExecutionTree
from kontinue.client.tree_watcher import TreeWatcher
from kontinue.errors import ConfigError, KontinueError, NotFound
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run
from kontinue_engine.cli.dev.log_files import rotated_path
from kontinue_engine.cli.execution_tree import executions_of
from kontinue_engine.cli.log_lines import format_log_line, parse_log_line
from kontinue_engine.cli.options import GlobalOptions, NameArgument, OutputFormat, global_options, note
from kontinue_engine.cli.pod_lines import LAST_LINES_S, PodLines, begin_of, jobs_of, workers_of

WORKER_LOGS: Final = "worker*.jsonl"
"""Of one worker, or of several that share a group."""
_POLL_S: Final = 0.3
_LATE_S: Final = 1.0
"""How long the last lines of a worker may take on their way. Judgement."""
_RUN_PODS: Final = "Pods that functions run"
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
    return heapq.merge(*parsed, key=_time_of)


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
    """Print the output and log lines of an Execution, its children and Jobs; -o json prints them as they are stored."""
    options = global_options(ctx)
    files: Path | NoLogsError
    try:
        files = find_logs(data_dir, options.kubeconfig, os.environ.get("KUBECONFIG", ""), Path.cwd())
    except NoLogsError as error:
        files = error  # in a cluster there are Pods

    async def main() -> int:
        try:
            async with connect(options) as connection:
                printing = _Printing(connection, options, name, files)
                await (printing.follow() if follow else printing.print_once())
                return exit_codes.OK
        except ConfigError as error:
            if isinstance(files, NoLogsError):
                raise files from error
            print("the server is away: choosing lines by name", file=sys.stderr)
        lines = TreeFilter(name, options.namespace or "default")
        _print_new(options, lines, LogTails(files).read_all())
        return exit_codes.OK

    run(main, on_interrupt=lambda: exit_codes.DETACHED)


class _Printing:
    """Prints the lines of one tree."""

    def __init__(self, connection: Connection, options: GlobalOptions, name: str, files: Path | NoLogsError) -> None:
        self._connection = connection
        self._options = options
        self._name = name
        self._files = files
        self._lines = TreeFilter(name, connection.namespace)
        self._pods = PodLines(connection, lambda text: note(options, text))

    async def print_once(self) -> None:
        """Print what there is, in the order of time.

        Raises:
            NoLogsError: there are neither files nor Pods.
        """
        tree = await self._connection.client.get_tree(self._name)
        self._lines.learn(tree)
        of_jobs = await self._pods.of_jobs(tree)
        if isinstance(self._files, NoLogsError):
            of_functions: Iterable[Mapping[str, Any]] = await self._lines_of_workers(tree, self._files, of_jobs)
        else:
            of_functions = LogTails(self._files).read_all()
        chosen = (fields for fields in of_functions if _is_shown(fields) and self._lines.choose(fields))
        for fields in heapq.merge(chosen, of_jobs, key=_time_of):
            _print_fields(self._options, fields)
        sys.stdout.flush()

    async def _lines_of_workers(
        self, tree: ExecutionTree, missing: NoLogsError, of_jobs: Sequence[object]
    ) -> list[Mapping[str, Any]]:
        try:
            found = [fields async for fields in self._pods.of_workers(tree) if self._lines.choose(fields)]
        except NotFound as error:
            if not of_jobs:
                raise missing from error
            note(self._options, str(missing))
            return []
        return sorted(found, key=_time_of)

    async def follow(self) -> None:
        """Print what there is and what comes, until the Execution has ended or is deleted."""
        tails = None if isinstance(self._files, NoLogsError) else LogTails(self._files)
        read = None if tails is None else tails.read_all
        async with self._connection.client.watch_tree(self._name) as watcher, asyncio.TaskGroup() as tasks:
            latest = _Latest()
            watching = tasks.create_task(latest.keep(watcher), name="watch tree")
            pods = _FollowedPods(tasks)
            pods.of_jobs[_RUN_PODS] = tasks.create_task(
                self._pods.follow_run_pods(lambda: latest.tree, latest.ended, self._print_one), name=_RUN_PODS
            )
            while True:
                tree, is_over = latest.tree, latest.ended.is_set()
                if tree is not None:
                    for fields in self._lines.learn(tree):
                        self._print_one(fields)
                    self._follow_pods(tree, pods, with_workers=tails is None)
                if tails is not None and read is not None and tree is not None:
                    _print_new(self._options, self._lines, read())
                    read = tails.read
                sys.stdout.flush()
                if is_over:
                    break
                await asyncio.sleep(_POLL_S)
            await pods.end()
            if tails is not None and latest.tree is not None:
                await asyncio.sleep(_LATE_S)
                _print_new(self._options, self._lines, tails.read())
                for fields in self._lines.learn(latest.tree):  # children are shown by a watch of their own
                    self._print_one(fields)
            watching.cancel()
        sys.stdout.flush()

    def _follow_pods(self, tree: ExecutionTree, pods: _FollowedPods, *, with_workers: bool) -> None:
        """Begin to follow the Pods that are new in the tree."""
        for job in jobs_of(tree):
            if job not in pods.of_jobs:
                following = self._pods.follow_job(job, self._print_one)
                pods.of_jobs[job] = pods.tasks.create_task(following, name=f"Job {job}")
        for worker in workers_of(tree) if with_workers else ():
            if worker not in pods.of_workers:
                following = self._pods.follow_worker(worker, begin_of(tree), self._print_chosen, pods.over)
                pods.of_workers[worker] = pods.tasks.create_task(following, name=f"worker {worker}")

    def _print_one(self, fields: Mapping[str, Any]) -> None:
        _print_fields(self._options, fields)

    def _print_chosen(self, fields: Mapping[str, Any]) -> None:
        if _is_shown(fields) and self._lines.choose(fields):
            _print_fields(self._options, fields)


class _FollowedPods:
    """Whose Pods are followed, by name.

    Attributes:
        over: workers tell what they have printed by now, and no more.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        self.over = asyncio.Event()
        self.of_jobs: dict[str, asyncio.Task[None]] = {}
        self.of_workers: dict[str, asyncio.Task[None]] = {}

    async def end(self) -> None:
        """Wait for what was printed until the Execution has ended."""
        _, late = await asyncio.wait(self.of_jobs.values(), timeout=LAST_LINES_S)
        for task in late:
            task.cancel()
        if self.of_workers:
            await asyncio.sleep(_LATE_S)
            self.over.set()
            await asyncio.wait(self.of_workers.values())


class _Latest:
    """The newest state of a watched tree.

    Attributes:
        ended: the Execution has ended, and is not to be run again, or is gone.
    """

    def __init__(self) -> None:
        self.tree: ExecutionTree | None = None
        self.ended = asyncio.Event()

    async def keep(self, watcher: TreeWatcher) -> None:
        """Take each state, until the watch ends."""
        async for tree in watcher:
            self.tree = tree
            if tree.root.execution is not None and has_come_to(tree.root.execution, ENDED_PHASES):
                self.ended.set()
            else:
                self.ended.clear()
        self.ended.set()


def _print_new(options: GlobalOptions, lines: TreeFilter, new: Iterator[Mapping[str, Any]]) -> None:
    for fields in new:
        if _is_shown(fields) and lines.choose(fields):
            _print_fields(options, fields)
    sys.stdout.flush()


def _is_shown(fields: Mapping[str, Any]) -> bool:
    return fields.get("level") != "debug"


def _time_of(fields: Mapping[str, Any]) -> str:
    return str(fields.get("time", ""))


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
