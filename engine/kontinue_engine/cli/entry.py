"""Internal. Where the console scripts begin: signals are answered before anything else is imported, and as process 1.

Imports next to nothing, for whatever is imported before would tell of Ctrl-C by a traceback. ``main`` calls
``interruptible`` once all modules are there.
"""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType


def kontinue() -> int:
    """Run ``kontinue`` and return its exit code; entry point of ``kontinue`` and ``kubectl-kontinue``."""
    return _start("kontinue_engine.cli.main")


def koncli() -> int:
    """Run ``koncli`` and return its exit code; its entry point."""
    return _start("kontinue_engine.cli.koncli")


def interruptible() -> None:
    """Have Ctrl-C raise KeyboardInterrupt from now on, as what comes next knows what to do with it."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _start(module: str) -> int:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background
        signal.signal(signal.SIGINT, _leave)
    if os.getpid() == 1:
        # The kernel spares process 1 of a container what it has no handler for: a verb that waits would wait on until
        # the Pod's grace period is over. Verbs that have something to give back set their own.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
    code: int = importlib.import_module(module).main()
    return code


def _leave(number: int, _: FrameType | None) -> None:
    """End as by the signal itself, in the words of a shell."""
    os._exit(128 + number)
