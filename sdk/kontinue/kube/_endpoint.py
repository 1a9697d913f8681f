"""Where the API server is: host, port, TLS and the path before every request, from a ``KubeConfig``.

Parsed once per transport. Called by ``kontinue.kube.http``; ``kontinue.kube._connections`` connects to the result.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from kontinue.errors import ConfigError
from kontinue.kube.config import KubeConfig

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Endpoint(msgspec.Struct, frozen=True):
    """One server.

    Attributes:
        host: name or address, without the brackets of IPv6.
        port: TCP port.
        authority: host and port as the Host header names them.
        base_path: what stands before the path of every request; no slash at its end.
        tls_server_name: name expected in the certificate; empty: no TLS.
    """

    host: str
    port: int
    authority: str
    base_path: str
    tls_server_name: str


def parse_endpoint(config: KubeConfig) -> Endpoint:
    """Return the server of ``config``.

    Raises:
        ConfigError: its URL cannot be used.
    """
    url = config.server
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        host.encode("idna")  # as resolving it would; here it can be reported
    except ValueError as error:
        raise ConfigError(f"{config.source}: {url!r} is no server address: {error}".lstrip(": ")) from error
    problem = ""
    if parts.scheme not in _DEFAULT_PORTS or not host:
        problem = "expected http://host:port or https://host:port"
    elif parts.username is not None:
        problem = "it has a user name; credentials belong to the users of a kubeconfig"
    elif parts.query or parts.fragment or not is_target(parts.path):
        problem = "only a path may follow the host, percent-encoded"
    if problem:
        raise ConfigError(f"{config.source}: {url!r} is no server address: {problem}".lstrip(": "))
    return Endpoint(
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        authority=parts.netloc,
        base_path=parts.path.rstrip("/"),
        tls_server_name=(config.tls_server_name or host) if parts.scheme == "https" else "",
    )


def is_target(target: str) -> bool:
    """Tell whether it can stand in a request line: ASCII without spaces, line ends and other controls."""
    return target.isascii() and target.isprintable() and " " not in target


def build_ssl_context(config: KubeConfig) -> ssl.SSLContext:
    """Return the TLS settings: whom to trust and the client certificate.

    Raises:
        ConfigError: the certificates cannot be used.
    """
    try:
        context = ssl.create_default_context(cadata=config.ca_data or None)
        if config.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.client_cert_data:
            # ssl loads certificates only from files; this one is private to us and lives for an instant.
            with tempfile.TemporaryDirectory(prefix="kontinue-") as folder:
                certificate = Path(folder) / "client.pem"
                certificate.touch(mode=0o600)
                certificate.write_text(f"{config.client_cert_data}\n{config.client_key_data}\n", encoding="ascii")
                context.load_cert_chain(certificate)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config.source}: certificates that cannot be used: {error}".lstrip(": ")) from error
    return context
