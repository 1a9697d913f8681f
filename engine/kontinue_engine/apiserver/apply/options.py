"""Internal. What a request says about field managers, and the configuration that an apply sends.

Called by ``kontinue_engine.apiserver.objects.write_handlers``; who owns what then is decided by
``kontinue_engine.apiserver.apply.tracking``.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply.managers import name_problem
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.values import with_whole_numbers

MEDIA_TYPE: Final = "application/apply-patch+yaml"


def owner(query: dict[str, str], agent: bytes, kind: str) -> str | bytes:
    """Return the field manager of a write: its name, or the User-Agent to take it from.

    Args:
        query: of the request.
        agent: its User-Agent.
        kind: of its options, for the refusal: ``CreateOptions`` and the like.

    Raises:
        StatusError: 422, the name is too long or cannot be printed.
    """
    name = query.get("fieldManager") if query else None
    if not name:
        return agent
    if problem := name_problem(name):
        too_long = problem.startswith("may not")
        reason = "FieldValueTooLong" if too_long else "FieldValueInvalid"
        raise _invalid(kind, statuses.cause(reason, "fieldManager", value=name, detail=problem))
    return name


def refuse_force(query: dict[str, str]) -> None:
    """Refuse ``force`` in patches that cannot conflict.

    Raises:
        StatusError: 422, it is there.
    """
    if query and "force" in query:
        detail = "may not be specified for non-apply patch"
        raise _invalid("PatchOptions", statuses.cause("FieldValueForbidden", "force", detail=detail))


def refuse_subresource(name: str) -> None:
    """Refuse to apply subresources that are another kind than their object: a Scale is only updated and patched.

    Raises:
        StatusError: 400, it is one of them.
    """
    if name not in {"", "status"}:
        raise statuses.bad_request(f"this server does not apply {name}: send a merge patch instead")


def applier(query: dict[str, str]) -> tuple[str, bool]:
    """Return the field manager of an apply, and whether it takes what others own.

    Raises:
        StatusError: 422, there is no manager or it cannot be one.
    """
    name = owner(query, b"", "PatchOptions")
    if not isinstance(name, str):
        cause = statuses.cause("FieldValueRequired", "fieldManager", detail="is required for apply patch")
        raise _invalid("PatchOptions", cause)
    return name, requests.is_true(query["force"]) if query.get("force") else "force" in query


def parse_configuration(resource: ResourceInfo, body: bytes) -> dict[str, Any]:
    """Read what is to be applied: YAML, or JSON, which nearly is YAML and parses faster.

    Raises:
        StatusError: 400, it cannot be read or is of another kind than the path says.
    """
    try:
        config = with_whole_numbers(orjson.loads(body))  # as YAML that says the same
    except orjson.JSONDecodeError:
        config = requests.parse_body(body, MEDIA_TYPE)
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise statuses.bad_request("error decoding YAML: the configuration must be an object")
    # What is no text is none, as kube-apiserver takes it.
    given = (config.get("apiVersion"), config.get("kind"))
    api_version, kind = (value if isinstance(value, str) else "" for value in given)
    if (api_version, kind) != (resource.api_version, resource.kind):
        shown = api_version if "/" in api_version else f"/{api_version}"
        raise statuses.bad_request(f"invalid object type: {shown}, Kind={kind}")
    metadata = config.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise statuses.bad_request("metadata must be an object")
    return {**config, "metadata": metadata or {}}


def _invalid(kind: str, cause: statuses.Cause) -> statuses.StatusError:
    details = {
        "group": "meta.k8s.io",
        "kind": kind,
        "causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field}],
    }
    return statuses.StatusError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {cause}', details=details)
