"""Internal. The engine's processes and the system: who dies with whom, how an end is put into words, memory.

Used by ``pool`` and ``runner``, by ``cli.dev`` for its own children, by ``cli.commands``, and by ``kube.informer``.
Starting and reading a process is not here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

_PR_SET_PDEATHSIG: Final = 1

# Loaded once, in the parent: a forked child needs nothing but the call.
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_trim: Final = getattr(_libc, "malloc_trim", None)
"""Of glibc; others do without."""

# Reads what to kill, then waits for the end of the pipe that only we hold open.
_GUARD: Final = 'read -r target || exit 0; read -r _; kill -s KILL -- "$target"'


def give_memory_back() -> None:
    """Return what was freed to the system, after something large: the C library keeps it otherwise. Some ms."""
    if _trim is not None:
        _trim(0)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL this process when the parent's thread that started it ends; exit if it has already.

    The signal is the thread's, not the process's: start such a process from the main thread. It works also while C code
    holds the GIL, when the end of a pipe does not; elsewhere than on Linux the end of a pipe must do.
    """
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)


@contextlib.contextmanager
def guard() -> Iterator[int]:
    """Start a process that outlives us for a moment, and then kills what was put under it, however we have died.

    Yields the descriptor for ``put_under_guard``. On leaving, the guard ends and leaves alone what it has guarded.
    """
    process = subprocess.Popen(  # noqa: S603 - a text of ours
        ["/bin/sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if process.stdin is None:
        raise RuntimeError("a guard without a pipe")
    with process:
        try:
            yield process.stdin.fileno()
        finally:
            process.kill()  # before its pipe is closed, which would have it strike


def put_under_guard(guard_fd: int, pid: int, *, is_group: bool) -> None:
    """Have a process, or the whole group that it leads, die with whoever has started the guard."""
    with contextlib.suppress(BrokenPipeError):  # somebody has ended the guard
        os.write(guard_fd, b"%d\n" % (-pid if is_group else pid))


def describe_exit(code: int | None) -> str:
    """Say how a process ended; ``code`` as in ``subprocess``, None when nobody can tell."""
    if code is None:
        return "ended, nobody knows how"
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL:
        return f"was killed by {name} (by the kernel if the machine or container ran out of memory)"
    return f"was killed by {name}"
