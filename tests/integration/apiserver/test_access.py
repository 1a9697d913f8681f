"""The seam at which roles can follow: every request passes it."""

from __future__ import annotations

import pytest

from api import Api
from kontinue_engine.apiserver.http import access
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.statuses import StatusError
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage


async def test_every_request_is_authorized_whether_it_names_a_resource_or_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where roles would be enforced nothing gets around: reads, writes, watches, discovery, metrics, backups."""

    def deny(*asked: object) -> None:
        raise StatusError(403, "Forbidden", f"forbidden: {asked[1:]}")

    monkeypatch.setattr(access.Authenticator, "authorize", deny)
    monkeypatch.setattr(access.Authenticator, "authorize_path", deny)
    async with LocalServer(SqliteStorage(MEMORY), token="t") as server:
        api = Api(server.url, "t")
        lease = api.path("coordination.k8s.io/v1/leases", "x")
        for method, path, asked in [
            ("GET", "/api/v1/configmaps?watch=1", "'watch', '', 'configmaps', '', None, ''"),
            ("POST", api.path("configmaps"), "'create', '', 'configmaps', '', 'default', ''"),
            ("PUT", api.path("pods", "x", "status"), "'update', '', 'pods', 'status', 'default', 'x'"),
            ("DELETE", lease, "'delete', 'coordination.k8s.io', 'leases', '', 'default', 'x'"),
            ("GET", "/backup", "'GET', '/backup'"),
            ("GET", "/metrics", "'GET', '/metrics'"),
            ("GET", "/apis", "'GET', '/apis'"),
        ]:
            status, body = await api.send(method, path, None if method == "GET" else {})
            assert (status, asked in body["message"]) == (403, True), (path, body)
        await api.close()
