"""Tokens and kubeconfigs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kontinue_engine.apiserver.http import access
from kontinue_engine.apiserver.statuses import StatusError

AUTHENTICATOR = access.Authenticator("secret")


def test_the_token_is_taken_from_the_header_or_the_path() -> None:
    """Clients that send no credentials over plain HTTP carry it in the server's address."""
    assert AUTHENTICATOR.authenticate("/api/v1", b"Bearer secret") == (access.ADMIN, "/api/v1")
    assert AUTHENTICATOR.authenticate("/secret/api/v1", b"") == (access.ADMIN, "/api/v1")
    assert AUTHENTICATOR.authenticate("/secret/api/v1", b"Bearer secret") == (access.ADMIN, "/api/v1")


@pytest.mark.parametrize(
    ("path", "header"),
    [("/api/v1", b""), ("/api/v1", b"Bearer secre"), ("/secre/api", b""), ("/api", b"secret"), ("/\u00e9", b"\xff")],
)
def test_anything_else_is_unauthorized(path: str, header: bytes) -> None:
    """401, whatever bytes were sent."""
    with pytest.raises(StatusError) as caught:
        AUTHENTICATOR.authenticate(path, header)
    assert caught.value.code == 401


def test_a_kubeconfig_is_private_and_gives_its_token_back(tmp_path: Path) -> None:
    """Mode 0600 from the first moment; a restart reuses the token."""
    path = tmp_path / "kubeconfig"
    access.write_kubeconfig(path, url="http://127.0.0.1:1", token="secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert access.read_token(path) == "secret"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kubeconfig"]


@pytest.mark.parametrize("text", [None, "", "users: 5", "users: [{name: kontinue, user: {}}]", "{"])
def test_a_missing_or_broken_kubeconfig_has_no_token(tmp_path: Path, text: str | None) -> None:
    """Then a new one is made."""
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    assert access.read_token(path) is None


def test_a_kubeconfig_that_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A folder is in its place."""
    path = tmp_path / "kubeconfig"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        access.write_kubeconfig(path, url="http://127.0.0.1:1", token="secret")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kubeconfig"]
