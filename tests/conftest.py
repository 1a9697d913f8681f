"""Fixtures for every test: a local API server in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.sqlite_file import MEMORY
from kontinue_engine.apiserver.sqlite_storage import SqliteStorage

TOKEN = "test-token"


@dataclasses.dataclass(frozen=True)
class LocalServerFixture:
    """A running server in memory.

    Attributes:
        server: the server itself, for what only tests do (``compact``).
        url: address; requests carry ``Authorization: Bearer`` and the token.
        token: the token.
        kubeconfig: file for kubectl and ``load_config``.
    """

    server: LocalServer
    url: str
    token: str
    kubeconfig: Path


@pytest.fixture
async def local_server(tmp_path: Path) -> AsyncIterator[LocalServerFixture]:
    """Serve kontinue's CRDs and the built-in kinds from memory, on the loop of the test."""
    async with LocalServer(SqliteStorage(MEMORY), token=TOKEN) as server:
        kubeconfig = tmp_path / "kubeconfig"
        server.write_kubeconfig(kubeconfig)
        yield LocalServerFixture(server, server.url, TOKEN, kubeconfig)
