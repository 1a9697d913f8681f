"""Service accounts for tests: who they are, what a Role grants them, and a kubeconfig with their token."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from api import Api


def granted(role: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what a Role allows, one by one."""
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for api_group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield (api_group, resource), verb


async def log_in(api: Api, account: str, *, original: Path, folder: Path) -> tuple[str, Path]:
    """Return a token of a service account, and a kubeconfig with it.

    Args:
        api: an administrator's client, in the account's namespace.
        account: its name.
        original: a kubeconfig of the same server.
        folder: where to write the new one.
    """
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    status, answer = await api.send("POST", api.path("serviceaccounts", account, "token"), request)
    assert status == 201, answer
    token = str(answer["status"]["token"])
    document = yaml.safe_load(original.read_text())
    document["users"][0]["user"] = {"token": token}
    cluster = document["clusters"][0]["cluster"]
    authority = Path(cluster.pop("certificate-authority")).read_bytes()
    cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    document["contexts"][0]["context"]["namespace"] = api.namespace
    kubeconfig = folder / f"of-{account}"
    kubeconfig.write_text(yaml.safe_dump(document))
    return token, kubeconfig
