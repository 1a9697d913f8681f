"""Clients of the local API server, and servers as processes."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, execution
from server_process import ServerProcess


class LocalApi(Api):
    """The client with what most of these tests send, and where."""

    executions = "/apis/kontinue.cloud/v1alpha1/namespaces/default/executions"
    configmaps = "/api/v1/namespaces/default/configmaps"
    json_patch = JSON_PATCH
    merge_patch = MERGE_PATCH
    strategic_patch = STRATEGIC_PATCH
    execution = staticmethod(execution)


@pytest.fixture
async def api(local_server: Any) -> AsyncIterator[LocalApi]:
    client = LocalApi(local_server.url, local_server.token)
    yield client
    await client.close()


@pytest.fixture
def connect() -> Any:
    """Make clients of other servers than ``local_server``."""
    return LocalApi


@pytest.fixture
def start() -> Iterator[Callable[[Path], ServerProcess]]:
    """Start servers as processes, which the test need not end."""
    running: list[ServerProcess] = []

    def begin(data_dir: Path) -> ServerProcess:
        running.append(ServerProcess(data_dir))
        return running[-1]

    yield begin
    for server in running:
        if server.is_running:
            server.stop(signal.SIGKILL)
