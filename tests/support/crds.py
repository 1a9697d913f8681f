"""CustomResourceDefinitions for tests: built from little, installed in a group of their own, removed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from api import Api, unique

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def group() -> str:
    """Return a group that no other test uses."""
    return f"{unique('g')}.example.com"


def version(name: str = "v1", *, storage: bool = True, served: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a version of a CRD.

    Args:
        name: of the version.
        storage: whether objects are stored in it.
        served: whether it is served.
        **fields: ``spec`` and ``status``: properties of these; ``schema``: instead of both; the rest as it is.
    """
    schema = fields.pop("schema", None)
    if schema is None:
        properties = {
            key: {"type": "object", "properties": fields.pop(key)} for key in ("spec", "status") if key in fields
        }
        schema = {"type": "object", "properties": properties}
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}, **fields}


def definition(group: str, *versions: dict[str, Any], scope: str = "Namespaced", **names: Any) -> dict[str, Any]:
    """Return a CRD of the kind Thing, or of other ``names``."""
    named = {"plural": "things", "kind": "Thing", **names}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{named['plural']}.{group}"},
        "spec": {"group": group, "scope": scope, "names": named, "versions": list(versions)},
    }


@contextlib.asynccontextmanager
async def installed(api: Api, crd: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Create a CRD, wait until it is served, and delete it at the end with whatever holds its objects."""
    status, body = await api.send("POST", CRDS, crd)
    assert status == 201, body
    try:
        yield await established(api, crd)
    finally:
        await api.send("DELETE", path(crd))


async def established(api: Api, crd: dict[str, Any]) -> Any:
    """Wait until every version is served; returns the CRD."""
    spec = crd["spec"]
    for one in spec["versions"]:
        if one["served"]:
            await api.eventually(f"/apis/{spec['group']}/{one['name']}/{spec['names']['plural']}?limit=1", 200)
    return await api.eventually(path(crd), lambda found: condition(found, "Established") == "True")


def path(crd: dict[str, Any]) -> str:
    """Return where a CRD is read."""
    return f"{CRDS}/{crd['metadata']['name']}"


def condition(crd: dict[str, Any], kind: str) -> str:
    """Return the status of a condition, or "" when there is none."""
    conditions = crd.get("status", {}).get("conditions") or []
    return next((one["status"] for one in conditions if one["type"] == kind), "")


def causes(body: dict[str, Any]) -> set[tuple[str, str]]:
    """Return (reason, field) of what a 422 complains about."""
    return {(cause["reason"], cause["field"]) for cause in body["details"]["causes"]}
