"""Internal. The end of a runner or zygote in which the engine itself has failed.

Called where an exception of our own code would otherwise be lost: in threads, in callbacks of the host loop. What has
happened to the activation is unknown then, and it would hang for ever. So the process ends, with the traceback where
the supervisor logs it; the Executions are replayed elsewhere, and what was active is charged with the crash.
"""

from __future__ import annotations

import os
import traceback
from typing import Final, NoReturn

EXIT_BROKEN: Final = 70  # EX_SOFTWARE


def end_process() -> NoReturn:
    """Report the current exception and end the process: no ``finally`` block and no exit handler of the user's runs."""
    try:
        text = f"process {os.getpid()} failed:\n{traceback.format_exc()}"
        os.write(2, text.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(EXIT_BROKEN)
