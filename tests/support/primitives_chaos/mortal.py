"""Has a process kill itself at a request of its own: at the n-th about a primitive, before it is sent or once answered.

So each operation is cut off between any two of its requests, also between a write and its answer. The order is a file
that the process looks for: it may be given while it runs.

    python -m primitives_chaos.mortal ORDER OPTIONS...      a coordinator that can be told so
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request
from kontinue_engine.arbiter.main import main

BEFORE, AFTER = "before", "after"
GROUP_PATH = "/apis/konductor.io/"


def obey(order: Path) -> None:
    """Have every transport of this process look for the order, and carry it out."""
    send = KubeTransport.send
    left = 0
    when = ""

    async def counted(self: KubeTransport, request: Request, **options: Any) -> bytes:
        nonlocal left, when
        if GROUP_PATH not in request.path:
            return await send(self, request, **options)
        if order.exists():
            number, when = order.read_text().split()
            left = int(number)
            order.unlink()
        left -= 1
        is_last = left == 0
        if is_last and when == BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await send(self, request, **options)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    KubeTransport.send = counted


def give(order: Path, number: int, when: str) -> None:
    """Have a process die at its n-th request from now on."""
    written = order.with_suffix(".new")
    written.write_text(f"{number} {when}")
    written.rename(order)


if __name__ == "__main__":
    obey(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
