"""Internal. The data directory of ``kontinue dev``: who uses it, and which processes run on it.

``dev.lock`` is locked by the running session (the kernel frees it with the process, however that ends) and
``dev.json`` says what runs, for people, ``kontinue logs`` and the demo.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from kontinue.errors import KontinueError


class DataDirInUseError(KontinueError):
    """Another ``kontinue dev`` runs on the data directory."""


class DataDirUnusableError(KontinueError):
    """The data directory cannot be created or written."""


class PortInUseError(KontinueError):
    """Another process listens on the port."""


class RunnerState(msgspec.Struct, frozen=True):
    """A runner as the worker named it when it became ready; ``colour`` is sync or async."""

    pid: int
    colour: str


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process, and its runners once it is ready.

    Attributes:
        name: of its log file; its shard id, if several workers share the group.
        pid: None while it is not running.
    """

    name: str
    pid: int | None = None
    runners: list[RunnerState] = []


class DevState(msgspec.Struct, frozen=True, kw_only=True):
    """What runs: ``dev.json``.

    Attributes:
        app: the ``module:app`` that the workers serve.
        url: scheme, host and port of the server; what else it takes to reach it stands in the kubeconfig.
        server_pid: None while the process is not running.
    """

    app: str
    namespace: str
    url: str
    kubeconfig: str
    dev_pid: int
    server_pid: int | None = None
    workers: list[WorkerState] = []


class DataDir:
    """A locked data directory. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: BinaryIO | None = None

    @property
    def kubeconfig(self) -> Path:
        """Written by the API server."""
        return self.path / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Folder of the JSON logs."""
        return self.path / "logs"

    def __enter__(self) -> Self:
        """Lock it.

        Raises:
            DataDirInUseError: another session holds the lock; names its pid.
            DataDirUnusableError: it cannot be created or written.
        """
        try:
            self._lock = self._take_lock()
        except OSError as error:
            raise unusable(self.path, error) from error
        return self

    def _take_lock(self) -> BinaryIO:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if next(self.path.iterdir(), None) is None:
            self.path.chmod(0o700)  # a new folder that somebody made for us: it will hold a token
        self.logs.mkdir(exist_ok=True, mode=0o700)
        (self.path / ".gitignore").write_text("*\n")
        lock = (self.path / "dev.lock").open("a+b")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read(32).decode(errors="replace").strip() or "unknown"
            lock.close()
            raise DataDirInUseError(
                f"another kontinue dev (pid {pid}) runs on {self.path}. "
                "Stop it with Ctrl-C, or give this one a directory of its own: --data-dir DIR --port N"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
        return lock

    def __exit__(self, *_: object) -> None:
        """Free it. The lock file stays: removing it would let two sessions lock two files of one name."""
        with contextlib.suppress(OSError):  # a disk that became read-only: a reader sees by the pid that dev is gone
            (self.path / "dev.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_state(self, state: DevState) -> None:
        """Replace ``dev.json`` in one go: a reader sees the old or the new one."""
        temporary = self.path / "dev.json.new"
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
        temporary.replace(self.path / "dev.json")


class ForgivingWriter:
    """Performs writes that a session can do without: a full disk is told once per file, not raised."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._failing: set[Path] = set()

    def attempt(self, path: Path, write: Callable[[], object]) -> None:
        """Call ``write``, which writes to ``path``."""
        try:
            write()
        except OSError as error:
            if path not in self._failing:
                self._failing.add(path)
                self._tell(f"cannot write {path}: {error.strerror or error}. Going on without it")
        else:
            self._failing.discard(path)


def unusable(path: Path, error: OSError) -> DataDirUnusableError:
    """Return the error that says why the data directory ``path`` cannot be used, and the way out."""
    is_no_folder = isinstance(error, FileExistsError | NotADirectoryError)
    problem = "not a folder" if is_no_folder else error.strerror or str(error)
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
    return DataDirUnusableError(
        f"data directory {path} cannot be used: {problem}{where}. "
        "Make it a folder that can be written, or choose another one: --data-dir DIR"
    )


def read_state(path: Path) -> DevState | None:
    """Return what runs on the data directory ``path``; None if nothing does."""
    try:
        return msgspec.json.decode((path / "dev.json").read_bytes(), type=DevState)
    except (OSError, msgspec.DecodeError):
        return None


def choose_port(port: int, *, host: str = "127.0.0.1") -> int:
    """Return ``port``, or a free one for 0: it stays the same when the server restarts.

    Raises:
        PortInUseError: another process listens on it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"port {port} on {host} cannot be used: {error.strerror}. "
                "Stop what listens there, or choose another one: kontinue dev ... --port N (0 picks a free one)"
            ) from error
        return int(probe.getsockname()[1])
