"""Internal. ``kontinue apiserver``: becomes a local API server process; below it, backup and restore of its data.

Whether a server runs on the data folder is told by the lock of its data file: then it is asked for the backup, else
the file is read here.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from kontinue_engine.cli.dev.command import DEFAULT_PORT
from kontinue_engine.errors import EngineError

app: Final = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
READ_BYTES: Final = 1024 * 1024
TIMEOUT_S: Final = 60.0
_DataDirBelow = Annotated[Path | None, typer.Option("--data-dir", help="Database and kubeconfig. Default: .kontinue")]
"""May stand before the subcommand as well, where it is ``command``'s."""


class BackupFailedError(EngineError):
    """A backup could not be written; nothing was left behind. The message says whose fault it is."""


@app.callback(invoke_without_command=True)
def command(
    context: typer.Context,
    data_dir: Annotated[Path, typer.Option(help="Database and kubeconfig.")] = Path(".kontinue"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0 picks a free one.")] = DEFAULT_PORT,
) -> None:
    """Run the local, Kubernetes-compatible API server alone, without a worker; or back up and restore its data."""
    if context.invoked_subcommand is not None:
        context.obj = data_dir
        return
    arguments = ["-m", "kontinue_engine.apiserver", "--data-dir", str(data_dir), "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  it takes our place, no shell is involved


@app.command("backup")
def back_up(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="To be written; must not exist.")],
    data_dir: _DataDirBelow = None,
) -> None:
    """Write all objects, as they are at one moment, to a file; the server may run meanwhile."""
    from kontinue_engine.apiserver.backup import backup, restoring
    from kontinue_engine.apiserver.main import DATABASE, KUBECONFIG
    from kontinue_engine.apiserver.storage.protocol import StorageBusyError

    data_dir = data_dir or _data_dir_above(context)
    database = data_dir / DATABASE
    if not database.exists():
        raise BackupFailedError(f"{data_dir} holds no data file of a server; name its folder with --data-dir")
    if file.exists():
        raise BackupFailedError(f"{file} exists and was left as it is; choose another name")
    try:
        revision, objects = restoring.read_closed(database)
        pieces = backup.encode(objects, revision=revision, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
    except StorageBusyError:
        pieces = _ask_server(data_dir / KUBECONFIG)
    except OSError as error:
        raise BackupFailedError(
            f"{data_dir} cannot be used: {error.strerror}; copy it to where it can be written, and back up the copy"
        ) from error
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _write(made, pieces)
        header = backup.check(made, _not_shown)
        made.replace(file)
    except (http.client.HTTPException, urllib.error.URLError, TimeoutError) as error:
        raise BackupFailedError(f"the server on {data_dir} did not give a whole backup ({error}); try again") from error
    except OSError as error:
        raise BackupFailedError(f"{file} cannot be written: {error.strerror}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written there is nothing to remove
            made.unlink()
    print(f"{header.objects} objects as of revision {header.revision} are in {file}")


@app.command("restore")
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Written by `kontinue apiserver backup`.")],
    data_dir: _DataDirBelow = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the objects that are there.")] = False,  # noqa: FBT002
) -> None:
    """Put a backup in the place of a stopped server's data; watches from before get 410 and list anew."""
    from kontinue_engine.apiserver.backup import restoring
    from kontinue_engine.apiserver.main import DATABASE
    from kontinue_engine.apiserver.storage.protocol import StorageBusyError
    from kontinue_engine.cli.dev.data_dir import read_state

    data_dir = data_dir or _data_dir_above(context)
    if data_dir.exists() and not data_dir.is_dir():
        raise BackupFailedError(f"{data_dir} is no folder; name the folder that holds the data file with --data-dir")
    progress = _shown if sys.stderr.isatty() else _not_shown
    try:
        restored = restoring.restore(file, data_dir / DATABASE, replaces=replace, progress=progress)
    except StorageBusyError as error:
        state = read_state(data_dir)
        if state is None or state.server_pid != error.holder_pid:
            raise
        raise BackupFailedError(
            f"kontinue dev (process {state.dev_pid}) runs on {data_dir}; stop it with Ctrl-C, then restore"
        ) from error
    except KeyboardInterrupt:
        print(f"interrupted: {data_dir} holds all of the old data, or all of the backup", file=sys.stderr)
        raise
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BackupFailedError(f"{file} cannot be restored: {error.strerror}{place}; nothing was changed") from error
    print(f"{restored.objects} objects restored into {data_dir}; revisions go on after {restored.revision}")


def _data_dir_above(context: typer.Context) -> Path:
    above: Path = context.obj
    return above


def _ask_server(kubeconfig: Path) -> Iterator[bytes]:
    from kontinue_engine.apiserver.http import access

    url = access.read_url(kubeconfig)
    if url is None:
        raise BackupFailedError(f"{kubeconfig} is missing or damaged, so the server that runs cannot be asked; stop it")
    with urllib.request.urlopen(f"{url}/backup", timeout=TIMEOUT_S) as answer:  # noqa: S310  our own server's address
        while piece := answer.read(READ_BYTES):
            yield piece


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    written = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            written += file.write(piece)
            if sys.stderr.isatty():
                print(f"\r{written / 1e6:.0f} MB", end="", file=sys.stderr)
        file.flush()
        os.fsync(file.fileno())
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _shown(done: int, of: int) -> None:
    if done == of or done % 1000 == 0:
        print(f"\r{done} of {of} objects", end="\n" if done == of else "", file=sys.stderr)


def _not_shown(_done: int, _of: int) -> None:
    """Nobody watches."""
