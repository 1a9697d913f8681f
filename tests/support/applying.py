"""Server-side apply in tests: send a configuration, and read from managedFields who owns what."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from api import APPLY_PATCH, Api


async def apply(
    api: Api, path: str, config: Any, manager: str = "one", *, force: bool = False, **query: str
) -> tuple[int, Any]:
    """Apply ``config`` at ``path`` as ``manager``; bytes go out as they are. Keywords become query parameters."""
    parameters = {**({"fieldManager": manager} if manager else {}), **({"force": "true"} if force else {}), **query}
    return await api.send("PATCH", f"{path}?{urlencode(parameters)}", config, content_type=APPLY_PATCH)


async def applied(api: Api, path: str, config: Any, manager: str = "one", *, force: bool = False) -> Any:
    """Apply, and return the object; it must succeed."""
    status, body = await apply(api, path, config, manager, force=force)
    assert status in {200, 201}, body
    return body


def entry(body: Any, manager: str, operation: str = "Apply", subresource: str = "") -> dict[str, Any] | None:
    """Return the managedFields entry of ``manager``, or None."""
    found = [
        one
        for one in body["metadata"].get("managedFields", [])
        if (one["manager"], one["operation"], one.get("subresource", "")) == (manager, operation, subresource)
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def fields(body: Any, manager: str, operation: str = "Apply", subresource: str = "") -> Any:
    """Return what ``manager`` owns, as FieldsV1; None when it owns nothing."""
    one = entry(body, manager, operation, subresource)
    return one["fieldsV1"] if one else None


def conflicts(body: Any) -> set[tuple[str, str]]:
    """Return (field, message) of the conflicts that a 409 tells of."""
    assert body["reason"] == "Conflict", body
    causes = body["details"]["causes"]
    assert {cause["reason"] for cause in causes} == {"FieldManagerConflict"}
    return {(cause["field"], cause["message"]) for cause in causes}
