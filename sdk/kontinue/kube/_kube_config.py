"""How to reach one API server, and who asks: found by ``kontinue.kube.config``, used by ``kontinue.kube.http``."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec


class KubeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to reach one API server. What is shown of it, as by ``repr``, has no secret.

    Attributes:
        server: base URL.
        namespace: namespace to work in.
        token: bearer token, or empty.
        token_source: returns a fresh bearer token; may block. It is asked again now and then, and after a 401.
        ca_data: PEM of the authorities to trust; empty: the system's.
        client_cert_data: PEM of the client certificate.
        client_key_data: PEM of its key.
        insecure: whether the server's certificate goes unchecked.
        tls_server_name: name expected in the server's certificate, if not the URL's.
        impersonation: headers, names and values, by which one acts as somebody else (kubeconfig's ``as``).
        source: where this came from, for people.
    """

    server: str
    namespace: str = "default"
    token: str = ""
    token_source: Callable[[], str] | None = None
    ca_data: str = ""
    client_cert_data: str = ""
    client_key_data: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    impersonation: tuple[tuple[str, str], ...] = ()
    source: str = ""

    @property
    def address(self) -> str:
        """Scheme, host and port of the server: the path of a local server's URL is a secret."""
        parts = urlsplit(self.server)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("server", self.address), ("namespace", self.namespace), ("source", self.source)]
