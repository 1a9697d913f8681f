"""What the official ``kubernetes`` package knows of a server, as our own configuration.

For whoever has an ``ApiClient`` already (``Client.from_kube``), and for kubeconfigs whose credentials come from exec
plugins or OIDC (``kontinue.kube.config``). The package is asked, never imported here: only who uses it pays for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from kontinue.errors import ConfigError
from kontinue.kube._kube_config import KubeConfig

SOURCE: Final = "the ApiClient given"
NO_BASIC_AUTHENTICATION: Final = "basic authentication is not supported, nor is it by Kubernetes since 1.19"
_IMPERSONATE_USER: Final = "impersonate-user"
_NOT_CARRIED: Final = ("impersonate-", "authorization", "cookie", "proxy-authorization")
"""Starts of the names of headers that change who asks."""


@runtime_checkable
class ApiClient(Protocol):
    """``kubernetes.client.ApiClient``."""

    configuration: Any
    default_headers: Any


class OfficialClient(msgspec.Struct, frozen=True):
    """A server, and the user to act as; empty for one's own name."""

    config: KubeConfig
    impersonate: str


def read_api_client(api_client: ApiClient, namespace: str) -> OfficialClient:
    """Return where an ``ApiClient`` connects, and as whom.

    Raises:
        ConfigError: it does what this client cannot do.
    """
    impersonate = ""
    headers: Mapping[str, str] = api_client.default_headers
    for name, value in headers.items():
        if name.lower() == _IMPERSONATE_USER:
            impersonate = value
        elif name.lower().startswith(_NOT_CARRIED):
            raise ConfigError(
                f"{SOURCE} sends the header {name}, which cannot be taken over: give credentials in its configuration, "
                "and a user to act as in Impersonate-User"
            )
    _refuse_proxy(api_client.configuration)
    return OfficialClient(read_configuration(api_client.configuration, namespace, SOURCE), impersonate)


def read_configuration(configuration: Any, namespace: str, source: str) -> KubeConfig:
    """Return a ``kubernetes.client.Configuration`` as ours. Its token is asked for again, by its own refresh hook.

    Raises:
        ConfigError: it does what this client cannot do, or a file that it names cannot be read.
    """
    if configuration.username or configuration.password:
        raise ConfigError(f"{source}: {NO_BASIC_AUTHENTICATION}")
    if getattr(configuration, "assert_hostname", None) is False and configuration.verify_ssl:
        raise ConfigError(
            f"{source}: assert_hostname=False is not supported; tls_server_name says which name the certificate has"
        )

    def read_token() -> str:
        header = str(configuration.get_api_key_with_prefix("BearerToken", "authorization") or "")
        scheme, _, token = header.partition(" ")
        return token if scheme.lower() == "bearer" else header

    try:
        return KubeConfig(
            server=str(configuration.host).rstrip("/"),
            namespace=namespace,
            token=read_token(),
            token_source=read_token,
            ca_data=_authorities(configuration),
            client_cert_data=_read_pem(configuration.cert_file),
            client_key_data=_read_pem(configuration.key_file),
            insecure=not configuration.verify_ssl,
            tls_server_name=str(getattr(configuration, "tls_server_name", None) or ""),
            source=source,
        )
    except OSError as error:
        raise ConfigError(f"{source}: {error}") from error


def _refuse_proxy(configuration: Any) -> None:
    server = str(configuration.host)
    proxy = getattr(configuration, "proxy", None)
    if proxy and not _is_exempt(server, str(getattr(configuration, "no_proxy", None) or "")):
        raise ConfigError(
            f"{SOURCE} reaches {server} through the proxy {_without_password(str(proxy))}, and proxies are not "
            "supported: where the server can be reached directly, name it in NO_PROXY (no_proxy of the configuration)"
        )


def _is_exempt(server: str, no_proxy: str) -> bool:
    """Tell whether a server is asked directly: ``no_proxy`` names hosts, and domains with all that is in them."""
    parts = urlsplit(server)
    names = {parts.netloc.rpartition("@")[2].lower(), (parts.hostname or "").lower()}
    entries = [entry.strip().lower().removeprefix("*").removeprefix(".") for entry in no_proxy.split(",")]
    return "*" in no_proxy.split(",") or any(
        name == entry or name.endswith(f".{entry}") for entry in entries if entry for name in names
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _authorities(configuration: Any) -> str:
    data = getattr(configuration, "ca_cert_data", None)
    if isinstance(data, bytes):
        return ssl.DER_cert_to_PEM_cert(data)
    return str(data) if data else _read_pem(configuration.ssl_ca_cert)


def _read_pem(file: object) -> str:
    return Path(str(file)).read_text(encoding="ascii") if file else ""
