"""Service accounts of a real control plane, as users who have the rights that a test gives them."""

from __future__ import annotations

from pathlib import Path

import yaml

from servers import Server


def kubeconfig_of(server: Server, namespace: str, account: str, folder: Path) -> Path:
    """Create a service account, which may do nothing yet; return a kubeconfig by which a program is it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    server.request("POST", path, {"metadata": {"name": account}})
    token = server.request("POST", f"{path}/{account}/token", {"spec": {}})["status"]["token"]
    document = yaml.safe_load(server.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    document["contexts"][0]["context"]["namespace"] = namespace
    cluster = document["clusters"][0]["cluster"]
    if file := cluster.get("certificate-authority"):
        cluster["certificate-authority"] = str((server.kubeconfig.parent / file).resolve())
    found = folder / f"of-{account}"
    found.write_text(yaml.safe_dump(document))
    return found
