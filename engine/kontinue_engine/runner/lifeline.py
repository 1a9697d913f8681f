"""Internal. Ties the life of this process to its parent's, also while C code holds the GIL.

The end of a pipe alone does not end a process that never comes back to the interpreter, so the kernel is asked to kill
it (Linux). Called first by the zygote and by every runner; elsewhere than on Linux the end of the pipe must do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1

# Loaded once, in the zygote: a forked runner needs nothing but the call.
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL this process when the parent's thread that started it ends; exit if it has already.

    The signal is the thread's, not the process's: a supervisor starts its zygote from its main thread.
    """
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)
