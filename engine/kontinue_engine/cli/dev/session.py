"""Internal. One run of ``kontinue dev``: performs what ``supervision`` decides and feeds it what happens.

Knows the command lines of server and worker, their log lines and the data directory; decides nothing about restarts.
Called by ``kontinue_engine.cli.dev.command``; everything runs on one asyncio loop in the main thread.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from kontinue.api.v1alpha1 import Function
from kontinue.kube.config import KubeConfig, load_config
from kontinue_engine.cli import log_lines
from kontinue_engine.cli.dev import processes, server_api, supervision
from kontinue_engine.cli.dev.console import Console
from kontinue_engine.cli.dev.data_dir import DataDir, DevState, ForgivingWriter, RunnerState
from kontinue_engine.cli.dev.log_files import LogFile
from kontinue_engine.cli.dev.source_watch import POLL_S, SourceWatch
from kontinue_engine.cli.dev.supervision import Role
from kontinue_engine.cli.signatures import example_command, format_signature
from kontinue_engine.cli.text import server_address
from kontinue_engine.processes import describe_exit

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        app: ``module:app``.
        app_dir: folder that the module is imported from.
        runners: sync runners; None leaves it to the worker.
        port: of the API server; chosen already, never 0.
        reload: whether edited code restarts the worker.
    """

    app: str
    app_dir: Path
    namespace: str
    port: int
    runners: int | None = None
    reload: bool = True


class Session:
    """Runs server and worker until the user leaves."""

    def __init__(self, options: DevOptions, data_dir: DataDir, console: Console) -> None:
        self._options = options
        self._data_dir = data_dir
        self._console = console
        self._supervision = supervision.Supervision()
        self._processes: dict[Role, processes.ChildProcess] = {}
        self._logs = {role: LogFile(data_dir.logs / f"{role.value}.jsonl") for role in Role}
        self._runners: list[RunnerState] = []
        self._config: KubeConfig | None = None
        self._finished: asyncio.Future[Role | None]
        self._tasks: asyncio.TaskGroup
        self._announced = False
        self._writes = ForgivingWriter(console.warn)

    async def run(self) -> int:
        """Run to the end and return the exit code."""
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._perform(self._supervision.begin())
                watching = self._tasks.create_task(self._watch_sources(), name="watch sources")
                failed = await self._finished
                watching.cancel()
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            for log in self._logs.values():
                log.close()
        if failed is None:
            self._console.say("stopped. Running Executions continue at the next start.")
            return 0
        self._say_failed(failed)
        return 1

    def _on_signal(self) -> None:
        again = self._supervision.stopping
        self._console.say("killing" if again else "stopping (again to kill)")
        self._perform(self._supervision.stop(time.monotonic()))

    def _perform(self, actions: list[supervision.Action]) -> None:
        for action in actions:
            match action:
                case supervision.Start(role):
                    self._tasks.create_task(self._run_process(role), name=f"run {role}")
                case supervision.Terminate(role):
                    self._signal(role, signal.SIGTERM)
                case supervision.Kill(role):
                    self._signal(role, signal.SIGKILL)
                case supervision.WakeAt(at_s):
                    asyncio.get_running_loop().call_later(max(0.0, at_s - time.monotonic()) + 0.01, self._tick)
                case supervision.Restarting():
                    self._say_restarting(action)
                case supervision.Finish(failed):
                    self._finished.set_result(failed)

    async def _watch_sources(self) -> None:
        sources = SourceWatch(self._options.app, self._options.app_dir)
        while self._options.reload:
            await asyncio.sleep(POLL_S)
            if changed := await asyncio.to_thread(sources.poll):
                more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
                self._console.say(f"{_shown(changed[0])}{more} changed: restarting the worker")
                self._perform(self._supervision.reload(Role.WORKER, time.monotonic()))

    def _tick(self) -> None:
        self._perform(self._supervision.tick(time.monotonic()))

    def _signal(self, role: Role, number: int) -> None:
        if process := self._processes.get(role):
            process.send(number)

    async def _run_process(self, role: Role) -> None:
        process = await processes.start_process(
            self._command(role),
            directory=self._options.app_dir if role is Role.WORKER else self._data_dir.path,
            on_stdout=lambda line: self._on_line(role, line),
            on_stderr=lambda line: self._on_line(role, line),
        )
        self._processes[role] = process
        self._write_state()
        if self._supervision.stopping:  # the user left while it was being started
            process.send(signal.SIGTERM)
        code = await process.wait()
        del self._processes[role]
        if role is Role.WORKER:
            self._runners = []
        self._write_state()
        self._perform(self._supervision.exited(role, code, time.monotonic()))

    def _command(self, role: Role) -> list[str]:
        options = self._options
        if role is Role.SERVER:
            arguments = ["--data-dir", str(self._data_dir.path), "--port", str(options.port)]
            return [sys.executable, "-m", "kontinue_engine.apiserver", *arguments]
        arguments = [options.app, "--namespace", options.namespace, "--kubeconfig", str(self._data_dir.kubeconfig)]
        if options.runners is not None:
            arguments += ["--sync-runners", str(options.runners)]
        return [sys.executable, "-m", "kontinue_engine.worker", *arguments]

    async def _on_server_ready(self) -> None:
        self._config = load_config(kubeconfig=self._data_dir.kubeconfig)
        self._write_state()
        if not self._announced:
            self._say_server(self._config)
            await self._create_namespace(self._config)
        else:
            server = self._processes.get(Role.SERVER)
            self._console.field("server", f"ready again, pid {server.pid if server else '?'}")
        self._perform(self._supervision.ready(Role.SERVER, time.monotonic()))

    async def _create_namespace(self, config: KubeConfig) -> None:
        if self._options.namespace != "default":
            try:
                await asyncio.to_thread(server_api.create_namespace, config, self._options.namespace)
            except OSError as error:
                self._console.warn(f"cannot create namespace {self._options.namespace}: {error}")

    def _on_line(self, role: Role, line: bytes) -> None:
        self._writes.attempt(self._data_dir.logs / f"{role.value}.jsonl", lambda: self._logs[role].write(line))
        fields = log_lines.parse_log_line(line)
        match role, fields["event"] if fields else "":
            case Role.SERVER, "api server ready":
                self._tasks.create_task(self._on_server_ready(), name="server ready")
            case Role.SERVER, "api server stopped":
                pass
            case Role.WORKER, "worker ready" if fields:
                self._on_worker_ready(fields)
            case _:
                self._console.log_line(line, now_s=time.monotonic())

    def _on_worker_ready(self, fields: dict[str, Any]) -> None:
        self._runners = msgspec.convert(fields.get("runners", []), list[RunnerState])
        self._write_state()
        self._perform(self._supervision.ready(Role.WORKER, time.monotonic()))
        worker = self._processes.get(Role.WORKER)
        pids = ", ".join(f"{runner.pid} ({runner.colour})" for runner in self._runners)
        self._console.field("worker", f"ready, pid {worker.pid if worker else '?'}, runners {pids or 'none yet'}")
        if not self._announced:
            self._announced = True
            self._tasks.create_task(self._say_functions(), name="say functions")

    def _write_state(self) -> None:
        server, worker = self._processes.get(Role.SERVER), self._processes.get(Role.WORKER)
        state = DevState(
            app=self._options.app,
            namespace=self._options.namespace,
            url=server_address(self._config.server) if self._config else "",
            kubeconfig=str(self._data_dir.kubeconfig),
            dev_pid=os.getpid(),
            server_pid=server.pid if server else None,
            worker_pid=worker.pid if worker else None,
            runners=self._runners,
        )
        self._writes.attempt(self._data_dir.path / "dev.json", lambda: self._data_dir.write_state(state))

    def _say_server(self, config: KubeConfig) -> None:
        server = self._processes.get(Role.SERVER)
        self._console.say(f"kontinue dev {self._options.app}")
        self._console.field("server", f"{server_address(config.server)} (pid {server.pid if server else '?'})")
        self._console.field("kubectl", f"export KUBECONFIG={shlex.quote(str(self._data_dir.kubeconfig))}")
        self._console.field("logs", f"{_shown(self._data_dir.logs)}/*.jsonl")

    async def _say_functions(self) -> None:
        functions: list[Function] = []
        if self._config is not None:
            try:
                functions = await asyncio.to_thread(server_api.fetch_functions, self._config, self._options.namespace)
            except OSError as error:
                self._console.warn(f"cannot list the Functions: {error}")
        for number, function in enumerate(functions):
            self._console.field("" if number else "functions", format_signature(function))
        suffix = "" if self._options.namespace == "default" else f" -n {self._options.namespace}"
        for function in functions[:1]:
            self._console.field("try", example_command(function) + suffix)
        self._console.say("Ctrl-C stops; what is running then continues at the next start.")

    def _say_restarting(self, told: supervision.Restarting) -> None:
        when = f"in {told.delay_s:g} s" if told.delay_s else "now"
        self._console.warn(f"{told.role} {describe_exit(told.code)}; starting it again {when}")
        if told.role is Role.WORKER and not told.was_ready:
            self._console.say("  it did not become ready: if the module was edited, fix it; dev keeps trying")

    def _say_failed(self, failed: Role) -> None:
        if failed is Role.WORKER:
            self._console.warn(
                f"the worker could not start {self._options.app}: see the error above. Correct the module "
                f"(imported from {self._options.app_dir}) and run kontinue dev again."
            )
        else:
            self._console.warn(
                "the API server could not start: see the error above. Its data is untouched in "
                f"{_shown(self._data_dir.path)}; --data-dir and --port choose others."
            )


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
