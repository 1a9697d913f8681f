"""Internal. One run of ``kontinue dev``: performs what ``supervision`` decides and feeds it what happens.

Knows the log lines of server and workers, and the data directory; decides nothing about restarts.
Called by ``kontinue_engine.cli.dev.command``; everything runs on one asyncio loop in the main thread.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from kontinue.api.v1alpha1 import Function, Phase
from kontinue.kube.config import KubeConfig, load_config
from kontinue_engine.cli import log_lines
from kontinue_engine.cli.causes import blocked_report
from kontinue_engine.cli.dev import commands, processes, server_api, supervision
from kontinue_engine.cli.dev.commands import DevOptions, Jobs
from kontinue_engine.cli.dev.console import Console
from kontinue_engine.cli.dev.data_dir import DataDir, DevState, ForgivingWriter, RunnerState, WorkerState
from kontinue_engine.cli.dev.job_runner import JobRunner
from kontinue_engine.cli.dev.log_files import LogFile
from kontinue_engine.cli.dev.source_watch import POLL_S, SourceWatch
from kontinue_engine.cli.dev.supervision import SERVER
from kontinue_engine.cli.signatures import example_command, format_signature
from kontinue_engine.processes import describe_exit

MAX_BLOCKED: Final = 3
"""Reports of Blocked Executions after each edit; of others there is a line. One edit may block thousands."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """Runs server and workers until the user leaves."""

    def __init__(self, options: DevOptions, data_dir: DataDir, console: Console) -> None:
        self._options = options
        self._data_dir = data_dir
        self._console = console
        self._workers = commands.worker_names(options)
        self._supervision = supervision.Supervision(self._workers)
        self._processes: dict[str, processes.ChildProcess] = {}
        self._logs = {name: LogFile(data_dir.logs / f"{name}.jsonl") for name in (SERVER, *self._workers)}
        self._runners: dict[str, list[RunnerState]] = {}
        self._config: KubeConfig | None = None
        self._finished: asyncio.Future[str | None]
        self._tasks: asyncio.TaskGroup
        self._announced = False
        self._signatures: list[str] = []
        self._jobs: asyncio.Task[None] | None = None
        self._coordinator: asyncio.Task[None] | None = None
        self._job_runner: JobRunner | None = None
        self._is_killing = False
        self._blocked_told = 0
        self._flags = "" if options.namespace == "default" else f" -n {options.namespace}"
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
                self._stop_jobs()
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
        self._is_killing = self._supervision.stopping
        self._console.say("killing" if self._is_killing else "stopping (again to kill)")
        self._stop_jobs()
        self._perform(self._supervision.stop(time.monotonic()))

    def _perform(self, actions: list[supervision.Action]) -> None:
        for action in actions:
            match action:
                case supervision.Start(name):
                    self._tasks.create_task(self._run_process(name), name=f"run {name}")
                case supervision.Terminate(name):
                    self._signal(name, signal.SIGTERM)
                case supervision.Kill(name):
                    self._signal(name, signal.SIGKILL)
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
                self._console.say(
                    f"{_shown(changed[0])}{more} changed: restarting the worker{'s' * (len(self._workers) > 1)}"
                )
                self._blocked_told = 0
                self._perform(self._supervision.reload(self._workers, time.monotonic()))

    def _tick(self) -> None:
        self._perform(self._supervision.tick(time.monotonic()))

    def _signal(self, name: str, number: int) -> None:
        if process := self._processes.get(name):
            process.send(number)

    async def _run_process(self, name: str) -> None:
        process = await processes.start_process(
            commands.command_of(
                name, self._options, data_dir=self._data_dir.path, kubeconfig=self._data_dir.kubeconfig
            ),
            directory=self._data_dir.path if name == SERVER else self._options.app_dir,
            on_stdout=lambda line: self._on_line(name, line),
            on_stderr=lambda line: self._on_line(name, line),
        )
        self._processes[name] = process
        self._write_state()
        if self._supervision.stopping:  # the user left while it was being started
            process.send(signal.SIGKILL if self._is_killing else signal.SIGTERM)
        code = await process.wait()
        del self._processes[name]
        self._runners.pop(name, None)
        self._write_state()
        self._perform(self._supervision.exited(name, code, time.monotonic()))

    async def _on_server_ready(self) -> None:
        self._config = load_config(kubeconfig=self._data_dir.kubeconfig)
        self._write_state()
        if not self._announced:
            self._say_server(self._config)
            await self._create_namespace(self._config)
            if self._coordinator is None:
                self._coordinator = self._tasks.create_task(self._coordinate(self._config), name="coordinator")
            if self._options.jobs is Jobs.PROCESS and self._jobs is None:
                self._jobs = self._tasks.create_task(self._run_jobs(self._config), name="jobs")
        else:
            self._console.field("server", f"ready again, pid {self._pid(SERVER) or '?'}")
        self._perform(self._supervision.ready(SERVER, time.monotonic()))

    async def _coordinate(self, config: KubeConfig) -> None:
        from kontinue_engine.arbiter.process import look_after  # here: dev starts without it

        try:
            await look_after(config, self._options.namespace)
        except Exception as error:  # noqa: BLE001 - the workers are to go on
            self._console.warn(f"primitives are not looked after any more: {error}")

    async def _run_jobs(self, config: KubeConfig) -> None:
        from kontinue.kube.http import KubeTransport  # here: dev starts without it

        transport = KubeTransport(config, user_agent="kontinue-dev-jobs")
        runner = self._job_runner = JobRunner(
            transport,
            namespace=self._options.namespace,
            directory=self._options.app_dir,
            logs=self._data_dir.logs / "jobs",
            say=self._console.say,
        )
        try:
            await runner.run()
        except Exception as error:  # noqa: BLE001 - the workers are to go on
            self._console.warn(f"Jobs are not run any more: {error}")
        finally:
            await transport.close()

    def _stop_jobs(self) -> None:
        for task in (self._jobs, self._coordinator):
            if task is not None:
                task.cancel()
        if self._is_killing and self._job_runner is not None:
            self._job_runner.kill()

    async def _create_namespace(self, config: KubeConfig) -> None:
        if self._options.namespace != "default":
            try:
                await asyncio.to_thread(server_api.create_namespace, config, self._options.namespace)
            except OSError as error:
                self._console.warn(f"cannot create namespace {self._options.namespace}: {error}")

    def _on_line(self, name: str, line: bytes) -> None:
        self._writes.attempt(self._data_dir.logs / f"{name}.jsonl", lambda: self._logs[name].write(line))
        fields = log_lines.parse_log_line(line)
        match name == SERVER, fields["event"] if fields else "":
            case True, "api server ready":
                self._tasks.create_task(self._on_server_ready(), name="server ready")
            case True, "api server stopped":
                pass
            case False, "worker ready" if fields:
                self._on_worker_ready(name, fields)
            case False, "execution event" if (
                fields and fields.get("reason") == Phase.BLOCKED and self._blocked_told < MAX_BLOCKED
            ):
                self._blocked_told += 1
                self._console.warn(
                    blocked_report(str(fields.get("execution")), str(fields.get("message")), self._flags)
                )
            case _:
                source = name if len(self._workers) > 1 else ""
                self._console.log_line(line, now_s=time.monotonic(), source=source)

    def _on_worker_ready(self, name: str, fields: dict[str, Any]) -> None:
        runners = self._runners[name] = msgspec.convert(fields.get("runners", []), list[RunnerState])
        self._write_state()
        self._perform(self._supervision.ready(name, time.monotonic()))
        pids = ", ".join(f"{runner.pid} ({runner.colour})" for runner in runners)
        self._console.field(name, f"ready, pid {self._pid(name) or '?'}, runners {pids or 'none yet'}")
        if len(self._runners) == len(self._workers):
            self._tasks.create_task(self._say_functions(is_first=not self._announced), name="say functions")
            self._announced = True

    def _pid(self, name: str) -> int | None:
        process = self._processes.get(name)
        return process.pid if process else None

    def _write_state(self) -> None:
        state = DevState(
            app=self._options.app,
            namespace=self._options.namespace,
            url=self._config.address if self._config else "",
            kubeconfig=str(self._data_dir.kubeconfig),
            dev_pid=os.getpid(),
            server_pid=self._pid(SERVER),
            workers=[
                WorkerState(name=name, pid=self._pid(name), runners=self._runners.get(name, []))
                for name in self._workers
            ],
        )
        self._writes.attempt(self._data_dir.path / "dev.json", lambda: self._data_dir.write_state(state))

    def _say_server(self, config: KubeConfig) -> None:
        self._console.say(f"kontinue dev {self._options.app}")
        self._console.field("server", f"{config.address} (pid {self._pid(SERVER) or '?'})")
        self._console.field("kubectl", f"export KUBECONFIG={shlex.quote(str(self._data_dir.kubeconfig))}")
        self._console.field("logs", f"{_shown(self._data_dir.logs)}/*.jsonl")

    async def _say_functions(self, *, is_first: bool) -> None:
        """Say which functions there are, and after a restart if they are others, so that one knows when to go on."""
        functions: list[Function] = []
        if self._config is not None:
            try:
                functions = await asyncio.to_thread(server_api.fetch_functions, self._config, self._options.namespace)
            except OSError as error:
                self._console.warn(f"cannot list the Functions: {error}")
        signatures = [format_signature(function) for function in functions]
        for number, signature in enumerate(signatures if signatures != self._signatures else ()):
            self._console.field("" if number else "functions", signature)
        self._signatures = signatures
        if not is_first:
            return
        for function in functions[:1]:
            self._console.field("try", example_command(function) + self._flags)
        if len(self._workers) > 1:
            self._console.field("shards", f"kontinue shards{self._flags}")
        self._console.say("Ctrl-C stops; what is running then continues at the next start.")

    def _say_restarting(self, told: supervision.Restarting) -> None:
        when = f"in {told.delay_s:g} s" if told.delay_s else "now"
        self._console.warn(f"{told.name} {describe_exit(told.code)}; starting it again {when}")
        if told.name != SERVER and not told.was_ready:
            self._console.say("  it did not become ready: if the module was edited, fix it; dev keeps trying")

    def _say_failed(self, failed: str) -> None:
        if failed != SERVER:
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
