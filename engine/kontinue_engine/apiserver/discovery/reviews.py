"""Internal. Questions about users: who am I, may I, is this a token. Answered by the one policy of this server.

That policy is an ``access.Access``: the administrator may do everything, and there is nobody else. Called by
``kontinue_engine.apiserver.virtual`` with documents that ``builtin.decoding`` has read. Nothing is stored.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http import access
from kontinue_engine.apiserver.resources import ResourceInfo

Document = dict[str, Any]
GROUPS: Final = ("system:masters", "system:authenticated")
_EVERYTHING: Final[Document] = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}


def answer(resource: ResourceInfo, review: Document, *, user: str, now: str, policy: access.Access) -> Document:
    """Return ``review`` with its status.

    Args:
        resource: kind of the review.
        review: the question.
        user: who asks.
        now: time for creationTimestamp.
        policy: who has which token, and may do what.

    Raises:
        StatusError: 400 or 422, the question makes no sense.
    """
    spec = review.get("spec") or {}
    match resource.kind:
        case "SelfSubjectReview":
            review["metadata"] = {**review["metadata"], "creationTimestamp": now}
            return {**review, "status": {"userInfo": _user_info(user)}}
        case "TokenReview":
            return {**review, "status": _token_status(spec, policy)}
        case "SelfSubjectRulesReview":
            if not spec.get("namespace"):
                raise statuses.bad_request("no namespace on request")
            return {**review, "spec": {}, "status": _EVERYTHING}
        case "SelfSubjectAccessReview":
            _check_attributes(resource, spec)
            return {**review, "status": {"allowed": _is_allowed(policy, user, spec)}}
        case _:
            if not spec.get("user") and not spec.get("groups"):
                problem = "at least one of user or group must be specified"
                raise _invalid(resource, "spec.user", "", problem)
            _check_attributes(resource, spec)
            subject = user if GROUPS[0] in (spec.get("groups") or ()) else spec.get("user", "")
            return {**review, "status": {"allowed": subject == access.ADMIN and _is_allowed(policy, subject, spec)}}


def _user_info(user: str) -> Document:
    return {"username": user, "uid": user, "groups": list(GROUPS)}


def _token_status(spec: Document, policy: access.Access) -> Document:
    if not spec.get("token"):
        raise statuses.bad_request("token is required for TokenReview in authentication")
    user = policy.user_of(spec["token"])
    if user is None:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": _user_info(user)}


def _check_attributes(resource: ResourceInfo, spec: Document) -> None:
    if "resourceAttributes" in spec and "nonResourceAttributes" in spec:
        problem = "cannot be specified in combination with resourceAttributes"
        raise _invalid(resource, "spec.nonResourceAttributes", spec["nonResourceAttributes"], problem)
    if "resourceAttributes" not in spec and "nonResourceAttributes" not in spec:
        problem = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid(resource, "spec.resourceAttributes", None, problem)


def _is_allowed(policy: access.Access, user: str, spec: Document) -> bool:
    try:
        if "nonResourceAttributes" in spec:
            asked = spec["nonResourceAttributes"] or {}
            policy.authorize_path(user, asked.get("verb", ""), asked.get("path", ""))
        else:
            asked = spec["resourceAttributes"] or {}
            wanted = ("verb", "group", "resource", "subresource", "namespace", "name")
            policy.authorize(user, *(asked.get(key, "") for key in wanted))
    except statuses.StatusError:
        return False
    return True


def _invalid(resource: ResourceInfo, field: str, value: Any, problem: str) -> statuses.StatusError:
    return statuses.invalid(resource, "", [statuses.cause("FieldValueInvalid", field, value=value, detail=problem)])
