"""A server that takes connections and says nothing: a verb tells whom it waits for."""

from __future__ import annotations

import asyncio

import pytest

from kontinue.errors import ApiError
from kontinue.kube import requests
from kontinue_engine.cli import connection
from kontinue_engine.cli.connection import connect
from kontinue_engine.cli.options import GlobalOptions

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: ""}}}}]
current-context: c
"""


async def test_a_silent_server_is_told_of_once(
    tmp_path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests wait for it at once; the user reads one line, with the address."""
    monkeypatch.setattr(connection, "_SAY_AFTER_S", 0.01)

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        file = tmp_path / "config"
        file.write_text(CONFIG.format(port=port))
        async with connect(GlobalOptions(kubeconfig=str(file))) as open_connection:
            send = open_connection.transport.send
            request = requests.get(requests.EXECUTIONS, "default", "e")
            ends = await asyncio.gather(
                *(send(request, retries=False, timeout_s=1.5) for _ in range(2)), return_exceptions=True
            )
    assert all(isinstance(end, ApiError) for end in ends)
    assert capsys.readouterr().err == f"no answer from http://127.0.0.1:{port} yet, still trying\n"
