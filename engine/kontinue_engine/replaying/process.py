"""Internal. The process that replays histories, as whoever asks sees it: one question, one answer.

User code runs there and not here, with the environment that runners have: hashes of strings are the same in every
process that replays. What hangs is killed, and what ends the process concerns one history: the next one gets a new
process. Called by ``kontinue replay`` and ``kontinue_engine.testing``; blocks. Not thread-safe.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from kontinue.api.v1alpha1 import Execution
from kontinue_engine.errors import AppLoadFailedError
from kontinue_engine.pool.zygote_process import HASH_SEED, interpreter_flags
from kontinue_engine.processes import describe_exit
from kontinue_engine.replaying.verdicts import Finding, Launch, Loaded, Verdict, question

HISTORIES: Final = 500
"""Replayed by one process. Each of a sync function keeps a thread; containers often allow a thousand. Judgement."""
DEFAULT_TIMEOUT_S: Final = 60.0
"""For one history, of which 20,000 records take seconds; the import has as long at least. Judgement."""
_READ_BYTES: Final = 65_536


class _EndedError(Exception):
    """The process gave no answer; says why."""


class ReplayProcess:
    """Replays histories against the functions of ``app``; a context manager.

    Args:
        app: ``module:attribute``.
        app_dir: put first on ``sys.path``.
        timeout_s: for one history.
        path: further folders to import from.
    """

    def __init__(
        self, app: str, app_dir: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, path: Sequence[str] = ()
    ) -> None:
        self._launch = Launch(app=app, app_dir=os.path.realpath(app_dir))
        self._timeout_s = timeout_s
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._asked = 0

    def load(self) -> Loaded:
        """Import the app, and return what it has.

        Raises:
            AppLoadFailedError: it does not import; the message says why.
        """
        self.close()
        self._asked = 0
        try:
            loaded = msgspec.json.decode(self._start(), type=Loaded)
        except _EndedError as end:
            self._kill()
            raise AppLoadFailedError(f"{self._launch.app} was not imported: {end}") from None
        if loaded.problem:
            self.close()
            raise AppLoadFailedError(loaded.problem, loaded.traceback)
        return loaded

    def check(self, execution: Execution) -> Verdict:
        """Return whether the app asks for what an Execution has recorded; its status must have the whole memo.

        Raises:
            AppLoadFailedError: the app does not import.
        """
        if self._asked >= HISTORIES:
            self.close()
        if self._process is None:
            self.load()
        self._asked += 1
        try:
            self._write(msgspec.json.encode(question(execution, self._asked)) + b"\n")
            return msgspec.json.decode(self._read(self._timeout_s), type=Verdict)
        except _EndedError as end:
            self._kill()
            return Verdict(finding=Finding.UNCHECKED, message=f"its replay has no end: {end}")

    def close(self) -> None:
        """End the process; idempotent."""
        self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _start(self) -> bytes:
        """Return the first line of a new process."""
        environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        if self._path:
            environment["PYTHONPATH"] = os.pathsep.join(self._path)
        arguments = [sys.executable, *interpreter_flags(), "-P", "-m", "kontinue_engine.replaying"]
        self._unread = b""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*arguments, msgspec.json.encode(self._launch).decode()],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self._read(max(self._timeout_s, DEFAULT_TIMEOUT_S))

    def _kill(self) -> None:
        """SIGKILL: nothing of user code may unwind."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait()

    def _write(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018 - it was started
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise _EndedError(self._describe_end()) from None

    def _read(self, timeout_s: float) -> bytes:
        """Return the next line."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 - it was started
        until_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, until_s - time.monotonic())):
                    raise _EndedError(f"no answer within {timeout_s:g} s")
                data = os.read(self._process.stdout.fileno(), _READ_BYTES)
                if not data:
                    raise _EndedError(self._describe_end())
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _describe_end(self) -> str:
        assert self._process is not None  # noqa: S101 - it was started
        self._process.kill()  # it has closed its pipe: that is its end
        return f"the process that replays it {describe_exit(self._process.wait())}"
