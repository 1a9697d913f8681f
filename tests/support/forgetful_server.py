"""The local API server as a process, like ``python -m kontinue_engine.apiserver``; SIGUSR1 makes it forget its history.

Run by ``servers``: tests need 410s without waiting for the minutes after which a server forgets by itself.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Self

from kontinue_engine.apiserver import main
from kontinue_engine.apiserver.server import LocalServer


class ForgetfulServer(LocalServer):
    """A server that obeys the signal."""

    async def __aenter__(self) -> Self:
        server = await super().__aenter__()
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGUSR1, lambda: tasks.add(loop.create_task(server.compact())))
        return server


if __name__ == "__main__":
    main.LocalServer = ForgetfulServer  # type: ignore[misc]
    raise SystemExit(main.main())
