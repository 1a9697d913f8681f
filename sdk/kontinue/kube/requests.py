"""Kubernetes API requests as values: which path, which query, which bytes. Pure.

Knows the shape of the API (paths, selectors, patch types), not how a request is sent: that is
``kontinue.kube.http``. Called by the client, the engine's informer, its lease and its controllers.
Selectors and names are percent-encoded here once, so that the transport need not parse anything again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from kontinue import errors

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]*")
_NO_NAMES: Final = frozenset({"", ".", ".."})

JSON: Final = "application/json"
ANY: Final = "*/*"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"

Propagation = Literal["Background", "Foreground", "Orphan"]
Subresource = Literal["", "status", "scale"]


class Resource(msgspec.Struct, frozen=True):
    """A resource type of the API: enough to build paths of its objects and lists."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``apiVersion`` of its objects, for example ``kontinue.cloud/v1alpha1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the path of the list or, with ``name``, of one object.

        An empty namespace means all namespaces (lists), or none (cluster-scoped resources).
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{_quote(namespace)}" if self.namespaced and namespace else ""
        path = f"{root}{scope}/{self.plural}"
        if name:
            path += f"/{_quote(name)}"
        if subresource:
            path += f"/{subresource}"
        return path

    def object_path(self, namespace: str, name: str, subresource: str = "") -> str:
        """Return the path of one object.

        Raises:
            Invalid: it can be no name, and the path would be that of something else: of all objects, if it is empty.
        """
        if name in _NO_NAMES or "/" in name or "%" in name:
            raise errors.Invalid(f"{name!r} is no name of an object of kind {self.kind}", status=422, reason="Invalid")
        return self.path(namespace, name, subresource)


EXECUTIONS: Final = Resource("kontinue.cloud", "v1alpha1", "executions", "Execution")
SUSPENSIONS: Final = Resource("kontinue.cloud", "v1alpha1", "suspensions", "Suspension")
SCHEDULED_EXECUTIONS: Final = Resource("kontinue.cloud", "v1alpha1", "scheduledexecutions", "ScheduledExecution")
MEMO_PAGES: Final = Resource("kontinue.cloud", "v1alpha1", "memopages", "MemoPage")
ARCHIVED_EXECUTIONS: Final = Resource("kontinue.cloud", "v1alpha1", "archivedexecutions", "ArchivedExecution")
FUNCTIONS: Final = Resource("kontinue.cloud", "v1alpha1", "functions", "Function")
WAIT_GROUPS: Final = Resource("konductor.io", "v1", "waitgroups", "WaitGroup")
MUTEXES: Final = Resource("konductor.io", "v1", "mutexes", "Mutex")
ONCES: Final = Resource("konductor.io", "v1", "onces", "Once")
RW_MUTEXES: Final = Resource("konductor.io", "v1", "rwmutexes", "RWMutex")
SEMAPHORES: Final = Resource("konductor.io", "v1", "semaphores", "Semaphore")
PERMITS: Final = Resource("konductor.io", "v1", "permits", "Permit")
BARRIERS: Final = Resource("konductor.io", "v1", "barriers", "Barrier")
ARRIVALS: Final = Resource("konductor.io", "v1", "arrivals", "Arrival")
GATES: Final = Resource("konductor.io", "v1", "gates", "Gate")
KONDUCTOR_LEASES: Final = Resource("konductor.io", "v1", "leases", "Lease")
LEASE_REQUESTS: Final = Resource("konductor.io", "v1", "leaserequests", "LeaseRequest")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS: Final = Resource("", "v1", "events", "Event")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
PODS: Final = Resource("", "v1", "pods", "Pod")
CONFIGMAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CRDS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)


_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Request(msgspec.Struct, frozen=True):
    """One request, ready to be sent: ``query`` is encoded and has no question mark."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: str = ""
    body: bytes = b""
    content_type: str = JSON
    accept: str = JSON

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


def create(resource: Resource, namespace: str, body: object, *, subresource: str = "", name: str = "") -> Request:
    """POST an object. ``name`` is needed only for subresources that are created, such as ``pods/binding``."""
    return Request("POST", resource.path(namespace, name, subresource), body=_encode(body))


def get(resource: Resource, namespace: str, name: str, *, subresource: str = "") -> Request:
    """GET one object, linearisable: it shows every write acknowledged before."""
    return Request("GET", resource.object_path(namespace, name, subresource))


def pod_log(
    namespace: str,
    pod: str,
    *,
    container: str = "",
    follow: bool = False,
    timestamps: bool = False,
    tail_lines: int | None = None,
    since: str = "",
) -> Request:
    """GET what a container has printed; ``since`` is RFC 3339, in whole seconds."""
    query = _query(
        ("container", container),
        ("follow", "true" if follow else ""),
        ("timestamps", "true" if timestamps else ""),
        ("tailLines", "" if tail_lines is None else str(tail_lines)),
        ("sinceTime", since),
    )
    return Request("GET", PODS.path(namespace, pod, "log"), query, accept=ANY)


def list_objects(
    resource: Resource,
    namespace: str,
    *,
    label_selector: str = "",
    field_selector: str = "",
    limit: int = 0,
    continue_token: str = "",
    resource_version: str = "",
    only_metadata: bool = False,
) -> Request:
    """GET a list, or one page of it; follow ``metadata.continue`` with ``continue_token``."""
    query = _query(
        ("labelSelector", label_selector),
        ("fieldSelector", field_selector),
        ("limit", str(limit) if limit else ""),
        ("continue", continue_token),
        ("resourceVersion", resource_version),
    )
    accept = _METADATA_LIST if only_metadata else JSON
    return Request("GET", resource.path(namespace), query, accept=accept)


def watch(
    resource: Resource,
    namespace: str,
    *,
    resource_version: str,
    label_selector: str = "",
    field_selector: str = "",
    allow_bookmarks: bool = True,
    timeout_s: int = 0,
    only_metadata: bool = False,
) -> Request:
    """GET a watch: the answer is a stream of JSON lines that the server ends after ``timeout_s``."""
    query = _query(
        ("watch", "true"),
        ("labelSelector", label_selector),
        ("fieldSelector", field_selector),
        ("resourceVersion", resource_version),
        ("allowWatchBookmarks", "true" if allow_bookmarks else ""),
        ("timeoutSeconds", str(timeout_s) if timeout_s else ""),
    )
    accept = _METADATA if only_metadata else JSON
    return Request("GET", resource.path(namespace), query, accept=accept)


def replace(resource: Resource, namespace: str, name: str, body: object) -> Request:
    """PUT a whole object; its ``metadata.resourceVersion`` is the precondition. Leaves a status subresource alone."""
    return Request("PUT", resource.object_path(namespace, name), body=_encode(body))


def replace_status(resource: Resource, namespace: str, name: str, body: object) -> Request:
    """PUT the status of an object; the ``metadata.resourceVersion`` beside it is the precondition."""
    return Request("PUT", resource.object_path(namespace, name, "status"), body=_encode(body))


def json_patch(
    resource: Resource,
    namespace: str,
    name: str,
    operations: Sequence[Mapping[str, Any]],
    *,
    subresource: Subresource = "",
) -> Request:
    """PATCH by RFC 6902 operations; a failed ``test`` is answered with 422."""
    path = resource.object_path(namespace, name, subresource)
    return Request("PATCH", path, body=_encode(operations), content_type=JSON_PATCH)


def merge_patch(
    resource: Resource, namespace: str, name: str, patch: object, *, subresource: Subresource = ""
) -> Request:
    """PATCH by RFC 7386 merge; a ``metadata.resourceVersion`` inside is a precondition."""
    path = resource.object_path(namespace, name, subresource)
    return Request("PATCH", path, body=_encode(patch), content_type=MERGE_PATCH)


def delete(
    resource: Resource,
    namespace: str,
    name: str,
    *,
    uid: str = "",
    resource_version: str = "",
    propagation: Propagation = "Background",
) -> Request:
    """DELETE one object; ``uid`` and ``resource_version`` are preconditions (409 when they do not hold)."""
    options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if wanted := {key: value for key, value in preconditions.items() if value}:
        options["preconditions"] = wanted
    return Request("DELETE", resource.object_path(namespace, name), body=_encode(options))


def _encode(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise _no_text(error) from error


def require_text(text: str) -> None:
    """Raise Invalid for what could not be sent, before others' operations are sent with it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _no_text(error) from error


def _quote(text: str) -> str:
    """Percent-encode a part of a path. Names of objects mostly need it not, which is quick to see."""
    try:
        return text if _PLAIN.fullmatch(text) else quote(text, safe="")
    except UnicodeEncodeError as error:
        raise _no_text(error) from error


def _no_text(error: UnicodeEncodeError) -> errors.Invalid:
    """Return the error of a text with half a character, such as an argument of a command that is no UTF-8."""
    return errors.Invalid(f"{error.object[:100]!r} is no text that UTF-8 can say", status=422, reason="Invalid")


def _query(*pairs: tuple[str, str]) -> str:
    return "&".join(f"{key}={_quote(value)}" for key, value in pairs if value)
