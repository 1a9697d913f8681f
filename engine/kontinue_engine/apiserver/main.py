"""Internal. ``python -m kontinue_engine.apiserver``: the local API server as a process of its own.

Logs JSON lines to stdout, the first of them when it is ready; SIGTERM and SIGINT stop it gracefully. Exit code 1 says
that it could not start, with the reason and the remedy on stderr, or not go on, with the reason in the log. Started by
``kontinue dev`` and ``kontinue apiserver``; ``kontinue dev`` waits for the events ``READY`` and ``STOPPED``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kontinue_engine.apiserver.http import access
from kontinue_engine.apiserver.server import LocalServer, ServerFailedError
from kontinue_engine.apiserver.storage.protocol import StorageError
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
from kontinue_engine.errors import StartupError
from kontinue_engine.telemetry import logs

DATABASE: Final = "kontinue.db"
MAX_PORT: Final = 65_535
KUBECONFIG: Final = "kubeconfig"
POD_LOGS: Final = Path("logs") / "jobs"
"""Where ``kontinue dev`` keeps what the Pods print that it runs."""
READY: Final = "api server ready"
STOPPED: Final = "api server stopped"

_log: Final = logs.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kontinue apiserver", description="Kontinue's local API server.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the data file and the kubeconfig")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0 takes a free one")
    options = parser.parse_args(arguments)
    logs.configure()
    try:
        options.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _run_loop(options.data_dir, host=options.host, port=options.port)
    except (StartupError, StorageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(
            f"error: data folder {options.data_dir} cannot be used: {error.strerror}{where}; "
            "make it a folder that can be written, or choose another --data-dir\n"
        )
        return 1
    except ServerFailedError:
        return 1
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be between 0 and {MAX_PORT}, not {port}")
    return port


async def run(data_dir: Path, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve ``data_dir``, which exists, until ``stop`` is set; the token outlives restarts.

    Raises:
        StartupError, StorageError: it cannot start; the message says what to do.
        ServerFailedError: it cannot go on; the log says why.
        OSError: a file in ``data_dir`` cannot be written.
    """
    kubeconfig = data_dir / KUBECONFIG
    token = access.read_token(kubeconfig) or access.new_token()
    storage = SqliteStorage(data_dir / DATABASE)
    async with LocalServer(storage, token=token, host=host, port=port, pod_logs=data_dir / POD_LOGS) as server:
        server.write_kubeconfig(kubeconfig)
        _log.info(READY, url=server.url, port=server.port, kubeconfig=str(kubeconfig), pid=os.getpid())
        if sys.stderr.isatty():
            sys.stderr.write(f"export KUBECONFIG={kubeconfig.absolute()}\n")
        await server.serve(stop)
    _log.info(STOPPED)


def _run_loop(data_dir: Path, *, host: str, port: int) -> None:
    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(data_dir, host=host, port=port, stop=stop)

    _raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _raise_file_limit() -> None:
    """Let as many clients connect as the machine allows: the usual 1,024 files are a thousand watches at most."""
    import resource  # POSIX only

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
