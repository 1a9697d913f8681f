"""Commands that are put under a guard which has ended already."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kontinue_engine.cli.dev.processes import start_process
from kontinue_engine.cli.primitives import commands

SAYS_ITS_SIGPIPE = ("sh", "-c", "echo began; kill -s PIPE $$; exit 7")
"""Ends by the signal where it is not ignored, as programs expect it of whoever starts them."""


@contextlib.contextmanager
def ended_guard() -> Iterator[int]:
    """Stand for a guard that somebody has killed: nobody reads what is put under it."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        yield writes
    finally:
        os.close(writes)


@pytest.mark.parametrize("own_group", [False, True])
async def test_a_command_under_a_lock_runs_though_its_guard_has_ended(
    own_group: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """It would be ended before its first instruction, with nothing said; signals are to it as to any program."""
    monkeypatch.setattr(commands, "guard", ended_guard)
    status = await commands.run_command(SAYS_ITS_SIGPIPE, commands.Signals(), own_group=own_group)
    assert capfd.readouterr().out == "began\n"
    assert status == -signal.SIGPIPE


async def test_the_command_of_a_job_runs_though_its_guard_has_ended(tmp_path: Path):
    """As one under a lock."""
    lines: list[bytes] = []
    with ended_guard() as guard_fd:
        process = await start_process(
            SAYS_ITS_SIGPIPE, directory=tmp_path, on_stdout=lines.append, on_stderr=lines.append, guard_fd=guard_fd
        )
        status = await process.wait()
    assert lines == [b"began"]
    assert status == -signal.SIGPIPE
