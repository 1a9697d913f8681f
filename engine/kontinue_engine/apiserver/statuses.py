"""Internal. Kubernetes' Status answers: the one exception that handlers raise, and the wording of each refusal.

A refusal is a ``StatusError``; whoever answers the request writes ``error.code`` and ``error.body()``. Wording and
fields follow kube-apiserver, because clients parse ``reason``, ``details`` and ``causes`` and people read the rest.
Causes of a 422 are built by ``kontinue_engine.apiserver.schemas.schema``. No I/O, no HTTP here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import orjson

from kontinue_engine.apiserver.resources import NAMESPACES, ResourceInfo
from kontinue_engine.apiserver.values import MAX_BODY_BYTES, MAX_NESTING

MAX_LISTED_VALUE_CHARS: Final = 400
"""Judgement: a refusal names the value, it does not repeat a document."""

_APPLY: Final = "application/apply-patch+yaml"
CUSTOM_PATCH_TYPES: Final = ("application/json-patch+json", "application/merge-patch+json", _APPLY)
BUILT_IN_PATCH_TYPES: Final = (*CUSTOM_PATCH_TYPES[:2], "application/strategic-merge-patch+json", _APPLY)

_BODIES: Final = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}
_WITHOUT_VALUE: Final = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"})
_NO_VALUE: Final = object()


class Cause(msgspec.Struct, frozen=True):
    """One reason why an object is invalid; ``message`` does not repeat the field."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def cause(reason: str, field: str, *, value: object = _NO_VALUE, detail: str = "") -> Cause:
    """Word a cause as Kubernetes' field errors do, for example ``Invalid value: -1: must be positive``.

    Leave ``value`` out where showing it says nothing, as for whole objects.
    """
    message = _BODIES[reason]
    if value is not _NO_VALUE and reason not in _WITHOUT_VALUE:
        message += f": {_shown(value)}"
    if detail:
        message += f": {detail}"
    return Cause(reason, message, field)


def _shown(value: object) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested too deeply, or an integer of more than 64 bits
        text = repr(value)
    return text if len(text) <= MAX_LISTED_VALUE_CHARS else f"{text[:MAX_LISTED_VALUE_CHARS]}..."


class StatusError(Exception):
    """A refused request.

    Attributes:
        code: HTTP status code.
        reason: machine-readable reason such as ``NotFound``.
        message: for people.
        details: ``details`` of the Status, or None.
    """

    def __init__(self, code: int, reason: str, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """Return the Status object, as it also stands in the ERROR event of a watch."""
        return build_status(self.code, message=self.message, reason=self.reason, details=self.details)

    def body(self) -> bytes:
        """Return the Status object as JSON."""
        return orjson.dumps(self.status())


def build_status(code: int, *, message: str = "", reason: str = "", details: dict[str, Any] | None) -> dict[str, Any]:
    """Return a Status object; codes below 400 mean Success."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure" if code >= 400 else "Success",
    }
    if message:
        body["message"] = message
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    if code >= 400:
        body["code"] = code
    return body


def deleted(resource: ResourceInfo, name: str, uid: str) -> dict[str, Any]:
    """Return the Status of a completed delete."""
    return build_status(200, details={**_details(resource, name), "uid": uid})


def not_found(resource: ResourceInfo, name: str) -> StatusError:
    """404: no such object."""
    return StatusError(
        404, "NotFound", f'{resource.group_resource} "{name}" not found', details=_details(resource, name)
    )


def unknown_resource() -> StatusError:
    """404: nothing of that name is served in a built-in group."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(resource: ResourceInfo, name: str, *, is_deleting: bool = False) -> StatusError:
    """409: an object of that name exists, or is still there because a finalizer holds it."""
    problem = f'{resource.group_resource} "{name}" already exists'
    if is_deleting:
        problem = f"object is being deleted: {problem}"
    return StatusError(409, "AlreadyExists", problem, details=_details(resource, name))


def conflict(
    resource: ResourceInfo,
    name: str,
    problem: str = "the object has been modified; please apply your changes to the latest version and try again",
) -> StatusError:
    """409: the object changed since it was read, or a precondition does not hold (say which in ``problem``)."""
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {problem}',
        details=_details(resource, name),
    )


def precondition_failed(resource: ResourceInfo, name: str, what: str, wanted: str, found: str) -> StatusError:
    """409: a delete was meant for another object, or for another state of it (``what``: UID or ResourceVersion)."""
    if resource is NAMESPACES:
        problem = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
        return conflict(resource, name, problem)
    happened = "deleted and then recreated" if what == "UID" else "modified"
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {_kind_name(resource)} "{name}": the {what} in the precondition ({wanted}) '
        f"does not match the {what} in record ({found}). The object might have been {happened}",
        details={**_details(resource, name), "kind": resource.kind},
    )


def invalid_options(kind: str, causes: Sequence[Cause]) -> StatusError:
    """422: options of a request (``kind``: DeleteOptions and the like) have values that do not exist."""
    listed = str(causes[0]) if len(causes) == 1 else f"[{', '.join(map(str, causes))}]"
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [msgspec.to_builtins(c) for c in causes]}
    return StatusError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {listed}', details=details)


def invalid(resource: ResourceInfo, name: str, causes: Sequence[Cause]) -> StatusError:
    """422: the object breaks its schema or rules; every cause is listed."""
    kind = _kind_name(resource)
    listed = str(causes[0]) if len(causes) == 1 else f"[{', '.join(map(str, causes))}]"
    details = {**_details(resource, name), "kind": resource.kind, "causes": [msgspec.to_builtins(c) for c in causes]}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details=details)


def unspecified_revision(resource: ResourceInfo, name: str) -> StatusError:
    """422: an update of this kind must say which revision it replaces."""
    needed = Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion")
    details = {**_details(resource, name), "causes": [msgspec.to_builtins(needed)]}
    return StatusError(422, "Invalid", f'{resource.group_resource} "{name}" is invalid: {needed}', details=details)


def undecodable(problem: str, *, is_patched: bool) -> StatusError:
    """400: a body is no object of its kind; 422: a patch would make it none."""
    if not is_patched:
        return bad_request(problem)
    broken = Cause("FieldValueInvalid", f"Invalid value: {problem}", "patch")
    return StatusError(422, "Invalid", f' "" is invalid: {broken}', details={"causes": [msgspec.to_builtins(broken)]})


def revision_at_create() -> StatusError:
    """400: an object that is to be created has a resourceVersion already."""
    return bad_request("resourceVersion should not be set on objects to be created")


def unprocessable_patch(problem: str) -> StatusError:
    """422: a JSON patch could not be applied, a failed ``test`` included."""
    return StatusError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {problem}", details={}
    )


def forbidden(resource: ResourceInfo, name: str, problem: str, *, causes: Sequence[Cause] = ()) -> StatusError:
    """403: not allowed now, for example in a namespace that terminates."""
    details = _details(resource, name)
    if causes:
        details["causes"] = [msgspec.to_builtins(c) for c in causes]
    return StatusError(403, "Forbidden", f'{resource.group_resource} "{name}" is forbidden: {problem}', details=details)


def bad_request(message: str) -> StatusError:
    """400: the request itself cannot be understood."""
    return StatusError(400, "BadRequest", message)


def nested_too_deeply() -> StatusError:
    """400: an object of more levels than can be stored."""
    return bad_request(f"the object is nested too deeply: it may have {MAX_NESTING} levels at most")


def unauthorized() -> StatusError:
    """401: no or a wrong token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed(resource: ResourceInfo | None = None) -> StatusError:
    """405: the resource or path does not support the verb."""
    details = _details(resource, "") if resource else {}
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details=details
    )


def not_acceptable(accepted: Iterable[str]) -> StatusError:
    """406: none of the media types in Accept can be served."""
    listed = ", ".join(accepted)
    return StatusError(406, "NotAcceptable", f"only the following media types are accepted: {listed}", details={})


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    """415: the body has a content type that the server cannot read here."""
    listed = ", ".join(accepted)
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + listed,
    )


def expired(message: str) -> StatusError:
    """410: the resourceVersion or continue token is older than the history kept."""
    return StatusError(410, "Expired", message)


def too_large(message: str = f"Request entity too large: limit is {MAX_BODY_BYTES}") -> StatusError:
    """413: the body or patch is larger than the server takes."""
    return StatusError(413, "RequestEntityTooLarge", message)


def request_timed_out() -> StatusError:
    """408: the client did not finish its request."""
    return StatusError(408, "Timeout", "the request did not arrive in time; send it whole, or anew")


def too_many_connections() -> StatusError:
    """429: every connection that this server keeps is taken."""
    return StatusError(
        429, "TooManyRequests", "too many connections are open; close some and retry", details={"retryAfterSeconds": 1}
    )


def future_resource_version(wanted: int, current: int) -> StatusError:
    """504: the resourceVersion asked for did not come up in time."""
    message = f"Too large resource version: {wanted}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return StatusError(504, "Timeout", f"Timeout: {message}", details={"causes": causes, "retryAfterSeconds": 1})


def storage_failed(problem: str) -> StatusError:
    """500: the write could not be made durable; nothing was acknowledged and nothing changed."""
    return StatusError(500, "InternalError", f"Internal error occurred: {problem}")


def _kind_name(resource: ResourceInfo) -> str:
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


def _details(resource: ResourceInfo, name: str) -> dict[str, Any]:
    details = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details
