"""Internal. From a request to its answer: who asks, which resource and verb, which handler; errors become Statuses.

The one function that the HTTP protocol calls is ``Router.__call__``. Reads answer at once, writes by a coroutine.
Documents that are not objects (discovery, OpenAPI, health, metrics) come from ``documents``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import orjson

from kontinue_engine.apiserver import statuses, virtual
from kontinue_engine.apiserver.discovery.documents import Documents
from kontinue_engine.apiserver.http import access, requests
from kontinue_engine.apiserver.http.http_protocol import Answer, Request, Response
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.http.warning_headers import warning_headers
from kontinue_engine.apiserver.objects import deletion
from kontinue_engine.apiserver.objects.write_handlers import WriteHandlers
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.pod_logs import PodLogs
from kontinue_engine.apiserver.reads import views
from kontinue_engine.apiserver.reads.reading import Reader
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import NAMESPACES

_log: Final = logging.getLogger(__name__)
DELETE_BATCH_OBJECTS: Final = 64
"""Judgement: deletes of one deletecollection that are under way at once."""

_VERBS: Final = {
    ("GET", False): "list",
    ("GET", True): "get",
    ("HEAD", False): "list",
    ("HEAD", True): "get",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}
"""Verb by (method, whether the path names an object)."""
_CHANGED_VERBS: Final = frozenset({"get", "update", "patch"})
_SUBRESOURCE_VERBS: Final = {
    "binding": frozenset({"create"}),
    "finalize": frozenset({"update"}),
    "log": frozenset({"get"}),
}
"""Of those that are not read and changed as status is."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class Router:
    """Answers requests."""

    def __init__(
        self,
        registry: Registry,
        reader: Reader,
        writer: Writer,
        documents: Documents,
        authenticator: access.Access,
        pod_logs: PodLogs,
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._writer = writer
        self._documents = documents
        self._authenticator = authenticator
        self._writes = WriteHandlers(writer)
        self._virtual = virtual.Virtual(reader, writer, authenticator, pod_logs)

    def __call__(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer ``request``; never raises."""
        try:
            answer = self._route(request)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take the server down
            return _refusal(request, error)
        return answer if isinstance(answer, Answer) else self._guarded(request, answer)

    async def _guarded(self, request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take the server down
            return _refusal(request, error)

    def _route(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        credentials = request.headers.get(b"authorization", b"")
        user, request.path = self._authenticator.authenticate(request.path, credentials)
        if request.method not in _METHODS:
            raise statuses.method_not_allowed()
        if "%" in request.path:
            request.path = unquote(request.path)
        target = self._target(request.path)
        if target is None:
            self._authenticator.authorize_path(user, request.method, request.path)
            return self._documents.answer(request)
        if target.resource.deprecation:
            return self._answer_with_warning(request, target, user)
        return self._answer(request, target, user)

    async def _answer_with_warning(self, request: Request, target: Target, user: str) -> Answer:
        try:
            found = self._answer(request, target, user)
            answer = found if isinstance(found, Answer) else await found
        except Exception as error:  # noqa: BLE001 - a refusal carries the warning too
            answer = _refusal(request, error)
        headers = (*warning_headers((target.resource.deprecation,)), *answer.headers)
        return msgspec.structs.replace(answer, headers=headers)

    def _answer(self, request: Request, target: Target, user: str) -> Answer | Coroutine[Any, Any, Answer]:
        query = requests.parse_query(request.query)
        verb = self._verb(request.method, target, query)
        resource = target.resource
        self._authenticator.authorize(
            user, verb, resource.group, resource.plural, target.subresource, target.namespace, target.name
        )
        view = self._view(request, query)  # refused before anything is written
        if virtual.is_virtual(target):
            return self._virtual.answer(request, target, query, user)
        headers = request.headers
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        agent = headers.get(b"user-agent", b"")
        match verb:
            case "get":
                return self._reader.get(target, query, view)
            case "list" | "watch":
                return self._reader.list(target, query, view)
            case "create":
                written = self._writes.create(target, request.body, content_type, query, agent)
            case "update":
                written = self._writes.update(target, request.body, content_type, query, agent)
            case "patch":
                written = self._writes.patch(target, request.body, content_type, query, agent)
            case "delete":
                return self._writes.delete(target, request.body, content_type, query)
            case _:
                return self._delete_collection(target, request, content_type, query)
        return written if view.form == views.PLAIN or target.subresource else self._reader.shown(target, written, view)

    @staticmethod
    def _view(request: Request, query: dict[str, str]) -> views.View:
        return views.negotiate(request.headers.get(b"accept", b""), query.get("includeObject", ""))

    def _target(self, path: str) -> Target | None:
        """Return what ``path`` names; None when it names no object, kind or subresource that is served."""
        parts = path.rstrip("/").split("/")
        if len(parts) > 4 and parts[1] == "apis":
            group, version, rest = parts[2], parts[3], parts[4:]
        elif len(parts) > 3 and parts[1] == "api":
            group, version, rest = "", parts[2], parts[3:]
        else:
            return None
        namespace: str | None = None
        is_namespace_itself = not group and len(rest) == 3 and rest[2] in NAMESPACES.subresources
        if rest[0] == "namespaces" and len(rest) > 2 and not is_namespace_itself:
            namespace, rest = rest[1], rest[2:]
        resource = self._registry.find(group, version, rest[0])
        if resource is None or len(rest) > 3:
            return None
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
        if subresource and subresource not in resource.subresources:
            return None
        if not resource.namespaced:
            return Target(resource, "", name, subresource) if namespace is None else None
        if namespace is None and name:
            return None
        return Target(resource, namespace, name, subresource)

    @staticmethod
    def _verb(method: str, target: Target, query: dict[str, str]) -> str:
        verb = _VERBS.get((method, bool(target.name) and target.subresource != "binding"), "")
        if verb == "list" and method == "GET" and requests.is_true(query.get("watch")):
            verb = "watch"
        if verb not in target.resource.verbs or (method == "HEAD" and not target.resource.custom):
            raise statuses.method_not_allowed(target.resource)
        if target.subresource and verb not in _SUBRESOURCE_VERBS.get(target.subresource, _CHANGED_VERBS):
            raise statuses.method_not_allowed(target.resource)
        if target.namespace is None and verb in {"create", "deletecollection"}:
            raise statuses.method_not_allowed(target.resource)
        return verb

    async def _delete_collection(
        self, target: Target, request: Request, content_type: str, query: dict[str, str]
    ) -> Answer:
        """Delete what a list with the same options shows, and answer with that list."""
        options = deletion.parse_delete_options(query, request.body, content_type)
        query = {**query, "watch": "0"}
        listed = await self._listed(target, query, views.View())
        names = [item["metadata"]["name"] for item in orjson.loads(listed.body)["items"]]
        view = self._view(request, query)
        answer = listed if view == views.View() else await self._listed(target, query, view)
        for start in range(0, len(names), DELETE_BATCH_OBJECTS):
            deletes = [
                self._writer.delete_object(msgspec.structs.replace(target, name=name), options)
                for name in names[start : start + DELETE_BATCH_OBJECTS]
            ]
            for outcome in await asyncio.gather(*deletes, return_exceptions=True):
                if isinstance(outcome, statuses.StatusError) and outcome.code == 404:
                    continue
                if isinstance(outcome, BaseException):
                    raise outcome
        return answer

    async def _listed(self, target: Target, query: dict[str, str], view: views.View) -> Response:
        answer = self._reader.list(target, query, view)
        answer = answer if isinstance(answer, Answer) else await answer
        assert isinstance(answer, Response)  # noqa: S101 - a stream only answers a watch
        return answer


def error_response(error: statuses.StatusError) -> Response:
    """Return the answer that tells of ``error``."""
    retry = (error.details or {}).get("retryAfterSeconds")
    headers = (("Retry-After", str(retry)),) if retry else ()
    return Response(error.code, error.body(), headers=headers)


def _refusal(request: Request, error: Exception) -> Response:
    if isinstance(error, statuses.StatusError):
        return error_response(error)
    if isinstance(error, RecursionError):  # nothing here recurses but along a document
        return error_response(statuses.nested_too_deeply())
    _log.error("request failed", exc_info=error, extra={"method": request.method, "path": request.path})
    return error_response(statuses.storage_failed("an internal error occurred; the server's log has the details"))
