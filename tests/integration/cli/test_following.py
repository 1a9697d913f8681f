"""What ``wait``, ``tree -w`` and ``logs -f`` take for the end of an Execution; the test plays its worker."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from api_server import ApiServer
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli import logs
from kontinue_engine.cli.connection import Connection, connect
from kontinue_engine.cli.following import follow
from kontinue_engine.cli.options import GlobalOptions
from kontinue_engine.cli.progress import NoProgress
from played_worker import PlayedWorker, build

pytestmark = pytest.mark.slow


async def test_the_end_of_the_attempt_before_is_not_the_end_that_is_waited_for(api_server: ApiServer) -> None:
    """``kontinue retry x && kontinue wait x``: the worker may hear of the retry later than we ask."""
    async with connect(options_of(api_server)) as connection:
        worker = await spawned(connection)
        await worker.write("x", Phase.FAILED)
        assert (await follow(connection, "x", NoProgress(None))).phase is Phase.FAILED
        await connection.client.retry_execution("x")
        for limit in (timedelta(), timedelta(seconds=1)):
            with pytest.raises(TimeoutError):
                await follow(connection, "x", NoProgress(None), limit=limit)
        following = asyncio.create_task(follow(connection, "x", NoProgress(None)))
        await worker.write("x", Phase.PENDING, observed_retries=1)
        await worker.write("x", Phase.COMPLETED)
        assert (await following).phase is Phase.COMPLETED


async def test_the_last_lines_of_a_log_file_may_come_after_the_end(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server tells the end; lines go through the pipe of the worker and through ``kontinue dev``."""
    file, sleep = tmp_path / "worker.jsonl", asyncio.sleep

    def print_line(text: str) -> None:
        fields = {"event": "output", "execution": "x", "namespace": api_server.namespace, "text": text}
        with file.open("a") as lines:
            lines.write(json.dumps({**fields, "time": "2026-01-01T00:00:00Z", "level": "info"}) + "\n")

    async def sleep_until_printed(delay_s: float) -> None:
        if delay_s == logs._LATE_S:
            print_line("last words")
            delay_s = 0
        await sleep(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep_until_printed)
    async with connect(options_of(api_server)) as connection:
        worker = await spawned(connection)
        print_line("first words")
        await worker.write("x", Phase.COMPLETED)
        await logs._Printing(connection, options_of(api_server), "x", tmp_path).follow()
    assert [line.partition("| ")[2] for line in capsys.readouterr().out.splitlines()] == ["first words", "last words"]


def options_of(api_server: ApiServer) -> GlobalOptions:
    """Return what names the server on the command line."""
    return GlobalOptions(kubeconfig=str(api_server.kubeconfig), namespace=api_server.namespace)


async def spawned(connection: Connection) -> PlayedWorker:
    """Start x, and return who plays its worker."""
    worker = PlayedWorker(connection.transport, connection.namespace)
    await worker.register()
    await connection.client.spawn(build.options(name="x"), "amd64")
    return worker
