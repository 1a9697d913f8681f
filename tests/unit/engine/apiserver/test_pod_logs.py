"""The log of a Pod is followed through rotations of its file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kontinue_engine.apiserver import pod_logs
from kontinue_engine.apiserver.http.http_protocol import StreamResponse
from kontinue_engine.apiserver.pod_logs import PodLogs, file_name, parse_options, stamped

POD: dict[str, Any] = {"metadata": {"namespace": "ns", "name": "p"}, "spec": {"containers": [{"name": "main"}]}}


class Reader:
    """Takes what is sent, as ``http_protocol.Stream`` does."""

    def __init__(self) -> None:
        self.is_open = True
        self.on_closed: Callable[[], None] = lambda: None
        self.received = b""

    def send_initial(self, chunks: Iterator[bytes]) -> None:
        self.received += b"".join(chunks)

    def send(self, framed: bytes) -> None:
        self.received += framed

    def end(self) -> None:
        self.is_open = False

    async def has(self, text: bytes) -> None:
        async with asyncio.timeout(60):
            while text not in self.received:
                await asyncio.sleep(0.001)


async def test_a_rotation_that_is_half_done_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may go away at any moment: between a look at it and its opening, too."""
    monkeypatch.setattr(pod_logs, "POLL_S", 0.001)
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    path = tmp_path / file_name("ns", "p")
    now = datetime.now(UTC)
    path.write_bytes(stamped(b"first\n", now))
    answer = PodLogs(tmp_path).answer(POD, lambda: POD, parse_options({"follow": "true"}, now))
    assert isinstance(answer, StreamResponse)
    reader = Reader()
    answer.start(reader)  # type: ignore[arg-type]
    await reader.has(b"first\n")
    with path.open("ab") as file:
        path.rename(path.with_name(f"{path.name}.1"))
        file.write(stamped(b"second\n", now))
    await reader.has(b"second\n")
    path.write_bytes(stamped(b"third\n", now))
    await reader.has(b"third\n")
    reader.on_closed()
