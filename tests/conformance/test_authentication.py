"""Who asks: a token that is not known is no token; health needs none."""

from __future__ import annotations

import pytest

from api import Api


@pytest.mark.parametrize("path", ["/api/v1/namespaces", "/apis", "/readyz", "/nothing"])
async def test_a_wrong_token_is_unauthorized(api: Api, path: str) -> None:
    """401 as a Status, before anything else is looked at."""
    status, body = await api.send("GET", path, Authorization="Bearer wrong")
    assert (status, body["kind"], body["reason"], body["code"]) == (401, "Status", "Unauthorized", 401)


async def test_health_is_told_to_everybody(api: Api) -> None:
    """Without any token."""
    for path in ("/healthz", "/livez", "/readyz"):
        assert await api.send("GET", path, Authorization="") == (200, b"ok")
