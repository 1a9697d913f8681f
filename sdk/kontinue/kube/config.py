"""Finds the API server and the credentials for it.

The order is the one that users are told: arguments, KUBECONFIG, a running ``kontinue dev`` here or in a parent folder,
the pod's service account, ``~/.kube/config``. Kubeconfigs with a token or a client certificate are read here, so that
a command starts fast; exec plugins and OIDC are left to the ``kubernetes`` package, imported only then. Proxies are not
supported: a ``proxy-url`` is refused, HTTPS_PROXY and its like are not read.
Called by the client, the CLI and the worker; the result goes to ``kontinue.kube.http.KubeTransport``.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast
from urllib.parse import quote, urlsplit

import msgspec

from kontinue.errors import ConfigError
from kontinue.kube._kube_config import KubeConfig as KubeConfig
from kontinue.kube.official_client import NO_BASIC_AUTHENTICATION, read_configuration
from kontinue.naming import MAX_NAME_LENGTH, is_dns_label

SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEV_STATE: Final = "dev.json"
"""Beside the kubeconfig: what ``kontinue dev`` says about its processes."""
DEV_KUBECONFIG: Final = Path(".kontinue") / "kubeconfig"
_HEADER_CHARACTERS: Final = "!#$&'*+-.^_`|~"
"""Of names of headers, beside letters and digits (RFC 9110); others are percent-encoded, and so is ``%``."""
_PROBE_S: Final = 0.5
"""A server on loopback accepts at once or not at all."""


def load_config(
    *,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    namespace: str | None = None,
    start_dir: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> KubeConfig:
    """Find the server to talk to.

    Args:
        kubeconfig: use this file and nothing else.
        context: use this context of the kubeconfig (of KUBECONFIG or ``~/.kube/config`` if no file is given).
        namespace: overrides the namespace of whatever is found.
        start_dir: where to start looking for ``.kontinue/kubeconfig``; by default the working directory.
        environ: environment variables; by default the process's.

    Raises:
        ConfigError: nothing was found (the message lists what was tried), or what was asked for cannot be used.
    """
    if namespace and not is_dns_label(namespace):
        raise ConfigError(
            f"{namespace!r} cannot be the name of a namespace: those are DNS labels, "
            f"a-z, 0-9 and '-' inside, at most {MAX_NAME_LENGTH} characters"
        )
    environ = os.environ if environ is None else environ
    # Where HOME is not set, asking for it fails for a user that the system does not know, as in many containers.
    home_file = Path(environ.get("HOME") or "~") / ".kube" / "config"
    with contextlib.suppress(RuntimeError):
        home_file = home_file.expanduser()
    start_dir = Path(start_dir or "")
    variable = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    found: KubeConfig | None
    if kubeconfig is not None:
        found = _from_files([Path(kubeconfig)], context, "kubeconfig")
    elif context is not None:
        found = _of_context(context, variable or [home_file], start_dir)
    elif variable:
        found = _from_files(variable, None, "KUBECONFIG")
    else:
        found = _search(start_dir, environ, home_file)
    return msgspec.structs.replace(found, namespace=namespace) if namespace else found


def _of_context(context: str, paths: list[Path], start_dir: Path) -> KubeConfig:
    if not any(path.is_file() for path in paths):
        of_dev = _dev_kubeconfig(start_dir)
        remedy = f"; without a context the server of kontinue dev is used ({of_dev})" if of_dev else ""
        raise ConfigError(
            f"context {context!r}: no such file: {', '.join(map(str, paths))}. "
            f"KUBECONFIG or --kubeconfig names another one{remedy}"
        )
    return _from_files(paths, context, "context")


def _dev_kubeconfig(start_dir: Path) -> Path | None:
    """Return the kubeconfig of the ``kontinue dev`` that belongs to a folder, whether it runs or not."""
    folders = (start_dir.absolute(), *start_dir.absolute().parents)
    return next((path for folder in folders if (path := folder / DEV_KUBECONFIG).is_file()), None)


def _search(start_dir: Path, environ: Mapping[str, str], home_file: Path) -> KubeConfig:
    tried = ["KUBECONFIG: not set"]
    if path := _dev_kubeconfig(start_dir):
        found = _from_files([path], None, "kontinue dev")
        # While dev restarts its server, a command must wait for it, and not go to another cluster.
        if _answers(found.server) or _dev_runs(path.parent):
            return found
        tried.append(f"{path}: {found.address} does not answer (is `kontinue dev` running?)")
    else:
        tried.append(f"{DEV_KUBECONFIG} in {start_dir.absolute()} and its parents: no such file")
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(environ)
    tried.append("in-cluster: KUBERNETES_SERVICE_HOST is not set")
    if home_file.is_file():
        return _from_files([home_file], None, "default")
    tried.append(f"{home_file}: no such file")
    listing = "\n".join(f"  - {line}" for line in tried)
    raise ConfigError(
        f"no Kubernetes API server found. Tried:\n{listing}\n"
        "Start one with `kontinue dev`, or name one by --kubeconfig, --context or KUBECONFIG."
    )


def _answers(server: str) -> bool:
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


class _DevState(msgspec.Struct):
    dev_pid: int


def _dev_runs(data_dir: Path) -> bool:
    """Tell whether the ``kontinue dev`` of a data directory lives."""
    try:
        state = msgspec.json.decode((data_dir / DEV_STATE).read_bytes(), type=_DevState)
        os.kill(state.dev_pid, 0)
    except (OSError, msgspec.DecodeError):
        return False
    return True


def _in_cluster(environ: Mapping[str, str]) -> KubeConfig:
    token_file = SERVICE_ACCOUNT_DIR / "token"
    host = environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host

    def read_token() -> str:
        # The kubelet replaces the file before the token in it expires.
        return token_file.read_text(encoding="ascii").strip()

    try:
        return KubeConfig(
            server=f"https://{host}:{environ.get('KUBERNETES_SERVICE_PORT', '443')}",
            namespace=(SERVICE_ACCOUNT_DIR / "namespace").read_text(encoding="utf-8").strip() or "default",
            token=read_token(),
            token_source=read_token,
            ca_data=(SERVICE_ACCOUNT_DIR / "ca.crt").read_text(encoding="ascii"),
            source="service account of this pod",
        )
    except OSError as error:
        raise ConfigError(f"in-cluster configuration: {error}. Is automountServiceAccountToken off?") from error


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    password: str | None = None
    exec: object = None
    auth_provider: object = None
    as_: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    """What of a kubeconfig we read."""

    current_context: str | None = None
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


_E = TypeVar("_E", _NamedCluster, _NamedUser, _NamedContext)


def _from_files(paths: list[Path], context: str | None, why: str) -> KubeConfig:
    """Read kubeconfigs; of several, the first one that defines a name or the current context wins, as in kubectl."""
    existing = [path for path in paths if path.is_file()]
    if not existing:
        raise ConfigError(f"{why}: no such file: {', '.join(map(str, paths))}")
    files = [(path, _read(path)) for path in existing]
    name = context or next((file.current_context for _, file in files if file.current_context), "")
    source = f"{why} ({os.pathsep.join(map(str, existing))}, context {name!r})"
    if not name:
        raise ConfigError(f"{source}: there is no current-context; choose one by the option context (--context)")
    chosen = _entry([(path, file.contexts) for path, file in files], "context", name, source)[1].context
    cluster_name = chosen.cluster or ""
    cluster_path, named = _entry([(path, file.clusters) for path, file in files], "cluster", cluster_name, source)
    cluster = named.cluster
    if cluster.proxy_url:
        raise ConfigError(f"{source}: cluster {cluster_name!r} has a proxy-url; proxies are not supported")
    user_path, user = cluster_path, _User()
    if chosen.user:
        user_path, named_user = _entry([(path, file.users) for path, file in files], "user", chosen.user, source)
        user = named_user.user or user
    if user.username or user.password:
        raise ConfigError(f"{source}: user {chosen.user!r} has a username and password: {NO_BASIC_AUTHENTICATION}")
    impersonation = _impersonation(user, f"{source}: user {chosen.user!r}")
    namespace = chosen.namespace or "default"
    if user.exec or user.auth_provider:
        found = _through_kubernetes(user_path, name, namespace, source)
        return msgspec.structs.replace(found, impersonation=impersonation)
    if not cluster.server:
        raise ConfigError(f"{source}: cluster {cluster_name!r} has no server")
    token_path = user_path.parent / user.token_file if user.token_file else None

    def read_token() -> str:
        return token_path.read_text(encoding="ascii").strip() if token_path else ""

    try:
        return KubeConfig(
            server=cluster.server.rstrip("/"),
            namespace=namespace,
            token=read_token() if token_path else user.token or "",
            token_source=read_token if token_path else None,
            ca_data=_pem(cluster.certificate_authority_data, cluster.certificate_authority, cluster_path),
            client_cert_data=_pem(user.client_certificate_data, user.client_certificate, user_path),
            client_key_data=_pem(user.client_key_data, user.client_key, user_path),
            insecure=bool(cluster.insecure_skip_tls_verify),
            tls_server_name=cluster.tls_server_name or "",
            impersonation=impersonation,
            source=source,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _impersonation(user: _User, whose: str) -> tuple[tuple[str, str], ...]:
    """Return the headers by which a user acts as somebody else, as client-go sends them."""
    others = [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
    others += [("Impersonate-Group", group) for group in user.as_groups or ()]
    for key, values in (user.as_user_extra or {}).items():
        others += [(f"Impersonate-Extra-{quote(key, safe=_HEADER_CHARACTERS)}", value) for value in values]
    if user.as_:
        return ("Impersonate-User", user.as_), *others
    if others:
        raise ConfigError(f"{whose} says as which uid, groups or extra to act, but not as which user (as)")
    return ()


def _read(path: Path) -> _File:
    import yaml  # here, as in a Pod nobody needs it: a command there may be shorter than loading it takes

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
        return msgspec.convert(document, _File, strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} cannot be read as a kubeconfig: {error}") from error


def _entry(files: Sequence[tuple[Path, Sequence[_E] | None]], what: str, name: str, source: str) -> tuple[Path, _E]:
    """Return the first entry of that name and the file that holds it."""
    for path, entries in files:
        for entry in entries or ():
            if entry.name == name:
                return path, entry
    known = ", ".join(entry.name for _, entries in files for entry in entries or ()) or "none"
    raise ConfigError(f"{source}: no {what} named {name!r}; there are: {known}")


def _pem(data: str | None, file: str | None, path: Path) -> str:
    """Return PEM text given inline (base64) or in a file, relative to the kubeconfig."""
    if data:
        return base64.b64decode(data).decode("ascii")
    return (path.parent / file).read_text(encoding="ascii") if file else ""


def _through_kubernetes(path: Path, context: str, namespace: str, source: str) -> KubeConfig:
    """Let the official client run exec plugins and OIDC; it refreshes tokens when they run out."""
    import kubernetes.client  # here: half a second that only these users pay
    import kubernetes.config

    try:
        loaded = kubernetes.client.Configuration()
        load = cast("Callable[..., None]", kubernetes.config.load_kube_config)  # pyright: ignore[reportUnknownMemberType]
        load(str(path), context=context, client_configuration=loaded)
    except Exception as error:  # a plugin may fail in any way, and the package has no base class for it
        raise ConfigError(f"{source}: {error}") from error
    return read_configuration(loaded, namespace, source)
