"""Commands that run under a lock."""

from __future__ import annotations

import asyncio
import signal

from kontinue_engine.cli.primitives import commands


def test_ctrl_c_is_asyncios_again_once_the_command_has_ended():
    """It cancels, and what is held is given back; Python's own would end us in the middle of that."""

    async def main() -> bool:
        usual = signal.getsignal(signal.SIGINT)
        assert usual is not signal.default_int_handler
        assert await commands.run_command(("true",), commands.Signals()) == 0
        return signal.getsignal(signal.SIGINT) is usual

    assert asyncio.run(main())
