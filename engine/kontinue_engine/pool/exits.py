"""Internal. Words for how a process ended. Pure; called by ``pool.runner_process`` and ``pool.zygote_process``."""

from __future__ import annotations

import signal


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
