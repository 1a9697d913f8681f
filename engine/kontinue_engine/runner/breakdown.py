"""Internal. The end of a runner or zygote in which the engine itself has failed.

Called where an exception of our own code would otherwise be lost: in threads, in callbacks of the host loop. What has
happened to the activation is unknown then, and it would hang for ever. So the process ends, with the traceback where
the supervisor logs it; the Executions are replayed elsewhere, and what was active is charged with the crash.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

EXIT_BROKEN: Final = 70  # EX_SOFTWARE

_report: Callable[[BaseException], None] | None = None


class BrokenError(BaseException):
    """Raised in place of the end of a process that is not only a runner's; nobody catches it."""


def spare_process(report: Callable[[BaseException], None]) -> None:
    """This process is not only a runner's (``kontinue_engine.testing``): report failures from now on, and live on."""
    global _report
    _report = report


def end_process() -> NoReturn:
    """Report the current exception and end the process: no ``finally`` block and no exit handler of the user's runs."""
    if _report is not None:
        error = sys.exception()
        _report(error or BrokenError())
        raise BrokenError from error
    try:
        text = f"process {os.getpid()} failed:\n{traceback.format_exc()}"
        os.write(2, text.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(EXIT_BROKEN)
