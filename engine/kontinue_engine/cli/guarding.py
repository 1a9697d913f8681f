"""Internal. Puts a command under its guard, in the child and before its program, for ``primitives`` and ``dev``.

Whoever starts a command may be killed before hearing of its start, so the command itself tells the guard of it.
"""

from __future__ import annotations

import os
import signal

from kontinue_engine.processes import put_under_guard


def go_under_guard(guard_fd: int, is_group: bool) -> None:  # noqa: FBT001
    """Have this process, or the group that it leads, die with whoever has started the guard.

    A guard that has ended already keeps no command from running. SIGPIPE has its default again by now, and would end
    us without a word; the program is started with the default, as ``subprocess`` starts all.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    put_under_guard(guard_fd, os.getpid(), is_group=is_group)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
