"""Internal. What ``kontinue dev`` asks its own server: the Functions, and to create a namespace.

Standard library only and blocking (called in a thread): the parent stays small and starts no HTTP client for this.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any, Final

import msgspec

from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig

_TIMEOUT_S: Final = 5.0
_CONFLICT: Final = 409


def fetch_functions(config: KubeConfig, namespace: str) -> list[Function]:
    """Return the Functions of the namespace.

    Raises:
        OSError: no or a bad answer.
    """
    request = requests.list_objects(requests.FUNCTIONS, namespace)
    return msgspec.json.decode(_call(config, "GET", request.target), type=ObjectList[Function]).items


def create_namespace(config: KubeConfig, namespace: str) -> None:
    """Create the namespace unless it exists.

    Raises:
        OSError: no or a bad answer.
    """
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    try:
        _call(config, "POST", requests.NAMESPACES.path(""), body)
    except urllib.error.HTTPError as error:
        if error.code != _CONFLICT:
            raise


def _call(config: KubeConfig, method: str, target: str, body: Any = None) -> bytes:
    request = urllib.request.Request(  # noqa: S310  the URL is our own server's
        config.server + target,
        method=method,
        data=msgspec.json.encode(body) if body is not None else None,
        headers={"Authorization": f"Bearer {config.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content
