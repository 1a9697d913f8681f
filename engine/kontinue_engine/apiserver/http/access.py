"""Internal. Who asks, and whether they may: the bearer token, and the one seam for authorization.

The token is random and stands in a kubeconfig of mode 0600; whoever can read that file is the administrator of this
server. It is taken as a bearer token, or as the first part of the path: kubectl and all of client-go send no
credentials over plain HTTP, but they keep the path of the server's address.
``Access`` is the seam at which roles can follow: who asks, and whether they may. Its one implementation knows one user,
who may do everything. Called by ``router`` for every request, whether it names a resource or only a path.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final, Protocol

import yaml

from kontinue_engine.apiserver import statuses

ADMIN: Final = "kontinue-admin"
CONTEXT: Final = "kontinue"
_PUBLIC_PATHS: Final = ("/healthz", "/livez", "/readyz", "/version")


class Access(Protocol):
    """Decides on every request, before anything of it is looked at."""

    def authenticate(self, path: str, header: bytes) -> tuple[str, str]:
        """Return the user ("" where anybody may ask) and the path without credentials.

        Raises:
            StatusError: 401.
        """

    def authorize(
        self, user: str, verb: str, group: str, plural: str, subresource: str, namespace: str | None, name: str
    ) -> None:
        """Allow a request for a resource; ``namespace`` None means all of them, ``name`` "" the collection.

        Raises:
            StatusError: 403.
        """

    def user_of(self, token: str) -> str | None:
        """Return the user of ``token``, or None."""

    def authorize_path(self, user: str, method: str, path: str) -> None:
        """Allow a request for what is no resource: discovery, health, metrics, a backup.

        Raises:
            StatusError: 403.
        """


class Authenticator:
    """``Access`` of whoever has the token: to everything."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}".encode()
        self._prefix = f"/{token}"

    def authenticate(self, path: str, header: bytes) -> tuple[str, str]:
        """Return the user and the path without a token; health and version need none, as in kube-apiserver.

        Raises:
            StatusError: 401, no or a wrong token.
        """
        if hmac.compare_digest(header, self._header):
            return ADMIN, path.removeprefix(self._prefix)
        prefix, rest = path[: len(self._prefix)], path[len(self._prefix) :]
        if hmac.compare_digest(prefix.encode(), self._prefix.encode()):
            return ADMIN, rest
        if path.startswith(_PUBLIC_PATHS) and not header.lower().startswith(b"bearer "):
            return "", path
        raise statuses.unauthorized()

    def authorize(
        self, user: str, verb: str, group: str, plural: str, subresource: str, namespace: str | None, name: str
    ) -> None:
        """Allow it: there is one user."""

    def authorize_path(self, user: str, method: str, path: str) -> None:
        """Allow it: what ``authenticate`` lets through is open to everybody, or asked by the one user."""

    def user_of(self, token: str) -> str | None:
        """Return the user of ``token``, or None."""
        return ADMIN if hmac.compare_digest(f"Bearer {token}".encode(), self._header) else None


def new_token() -> str:
    """Return a fresh random token."""
    return secrets.token_urlsafe(32)


def read_token(kubeconfig: Path) -> str | None:
    """Return the token of a kubeconfig that this server wrote before; None when there is none to be reused."""
    try:
        document = yaml.safe_load(kubeconfig.read_text())
        token = next(user["user"]["token"] for user in document["users"] if user["name"] == CONTEXT)
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration):
        return None
    return token if isinstance(token, str) and token else None


def read_url(kubeconfig: Path) -> str | None:
    """Return the address in a kubeconfig of this server, token included; None when there is none."""
    try:
        document = yaml.safe_load(kubeconfig.read_text())
        url = next(each["cluster"]["server"] for each in document["clusters"] if each["name"] == CONTEXT)
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration):
        return None
    return url if isinstance(url, str) and url.startswith("http://") else None


def write_kubeconfig(path: Path, *, url: str, token: str) -> None:
    """Write a kubeconfig that only its owner can read; replaces the file at once, so no reader sees half of it."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": f"{url}/{token}"}}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}],
        "current-context": CONTEXT,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(yaml.safe_dump(document, sort_keys=False))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
