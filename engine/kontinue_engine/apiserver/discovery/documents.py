"""Internal. Everything under GET that is no object: discovery, OpenAPI, version, health, metrics; and unknown paths.

Built from the registry when its resources have changed and kept as bytes, metrics aside. Called by ``router`` for
every path that names no resource; the documents themselves are made by ``discovery`` and ``openapi``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.discovery import discovery, openapi
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.http.http_protocol import Answer, Request, Response
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import ResourceInfo

TEXT: Final = "text/plain; charset=utf-8"
METRICS_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_HEALTH: Final = frozenset({"healthz", "livez", "readyz"})
_CHECKS: Final = ("ping", "storage")
"""What health is made of. A server that answers lives, as it ends when its storage fails for good; it is not ready
while that refuses writes, as of a full disk."""
_ADDRESS: Final = "127.0.0.1"


class Documents:
    """Answers requests for documents."""

    def __init__(
        self,
        registry: Registry,
        *,
        write_counts: Callable[[], Mapping[tuple[str, str], int]],
        watch_count: Callable[[], int],
        storage_problem: Callable[[], str],
        backup: Callable[[], Answer],
    ) -> None:
        self._registry = registry
        self._write_counts = write_counts
        self._watch_count = watch_count
        self._storage_problem = storage_problem
        self._backup = backup
        self._build()

    def answer(self, request: Request) -> Answer:
        """Return the document, or the plain 404 that kube-apiserver gives for most unknown paths.

        Raises:
            StatusError: 405, documents cannot be written; 406, discovery is JSON; 404 where kube-apiserver gives a
                Status.
        """
        path = request.path.rstrip("/") or "/"
        if path == "/metrics":
            return Response(200, self._metrics(), METRICS_TEXT)
        if path == "/backup" and request.method == "GET":
            return self._backup()
        if path.split("/")[1] in _HEALTH:
            problem = self._storage_problem() if path.startswith("/readyz") else ""
            return _health(path, request.query, {"storage": problem} if problem else {})
        if path == "/openapi/v2":
            return Response(200, *openapi.document_v2(request.headers.get(b"accept", b"").decode("latin-1")))
        if self._built_from is not self._registry.resources:
            self._build()
        body = self._documents.get(path) or self._openapi.document(path.removeprefix("/openapi/v3/"))
        if body is None:
            return self._refuse_unknown(path)
        if request.method != "GET" and not _takes_any_method(path):
            raise statuses.method_not_allowed()
        if path in {"/api", "/apis"}:
            version = discovery.negotiate(request.headers.get(b"accept", b"").decode("latin-1"))
            if version:
                return Response(200, self._aggregated[path, version], discovery.AGGREGATED_CONTENT_TYPE[version])
        return Response(200, body)

    def _build(self) -> None:
        """Make the documents; a registry that has changed has other resources."""
        self._built_from = self._registry.resources
        self._openapi = openapi.OpenApi(self._built_from)
        self._documents = _build(self._built_from, self._openapi)
        self._built_in_groups = {info.group for info in self._built_from if info.group and not info.custom}
        self._aggregated = {
            (path, version): orjson.dumps(
                discovery.build_aggregated(self._built_from, version=version, is_core=path == "/api")
            )
            for path in ("/api", "/apis")
            for version in discovery.AGGREGATED_CONTENT_TYPE
        }

    def _refuse_unknown(self, path: str) -> Response:
        """Refuse a path as the part of kube-apiserver does that it falls to: by a Status or plain text."""
        root, group, *rest = [*path.split("/")[1:], "", ""]
        if root == "api" or (root == "apis" and group in self._built_in_groups):
            raise statuses.unknown_resource()
        names = rest[3:] if rest[1:2] == ["namespaces"] else rest[1:]
        resource = self._registry.find(group, rest[0], names[0]) if root == "apis" and len(names) > 4 else None
        if resource is not None:  # of a CRD, without this subresource
            raise statuses.not_found(resource, names[1])
        return Response(404, b"404 page not found\n", TEXT)

    def _metrics(self) -> bytes:
        lines = [
            "# HELP kontinue_apiserver_writes_total Committed writes; a write that changes nothing is none.",
            "# TYPE kontinue_apiserver_writes_total counter",
            *(
                f'kontinue_apiserver_writes_total{{resource="{resource}",verb="{verb}"}} {count}'
                for (resource, verb), count in sorted(self._write_counts().items())
            ),
            "# HELP kontinue_apiserver_watches Open watches.",
            "# TYPE kontinue_apiserver_watches gauge",
            f"kontinue_apiserver_watches {self._watch_count()}",
        ]
        return ("\n".join(lines) + "\n").encode()


def _takes_any_method(path: str) -> bool:
    """Tell whether kube-apiserver answers every method there as it answers a GET: it asks for none."""
    return path == "/" or path.startswith("/openapi/v3")


def _health(path: str, query: str, problems: Mapping[str, str]) -> Response:
    probe, _, check = path[1:].partition("/")
    if check and check not in _CHECKS:
        return Response(404, b"404 page not found\n", TEXT)
    if check in problems:
        return Response(500, f"internal server error: {problems[check]}\n".encode(), TEXT)
    if check or not (problems or "verbose" in requests.parse_query(query)):
        return Response(200, b"ok", TEXT)
    lines = [f"[-]{one} failed: {problems[one]}" if one in problems else f"[+]{one} ok" for one in _CHECKS]
    lines.append(f"{probe} check {'failed' if problems else 'passed'}\n")
    return Response(500 if problems else 200, "\n".join(lines).encode(), TEXT)


def _build(found: Sequence[ResourceInfo], schemas: openapi.OpenApi) -> dict[str, bytes]:
    documents: dict[str, Any] = {
        "/version": discovery.build_version(),
        "/api": discovery.build_api_versions(_ADDRESS),
        "/apis": discovery.build_group_list(found),
    }
    for info in found:
        if info.group:
            documents[f"/apis/{info.group}"] = discovery.build_group(found, info.group)
        root = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
        documents[root] = discovery.build_resource_list(found, info.group, info.version)
    documents["/openapi/v3"] = schemas.build_index()
    documents["/"] = {"paths": sorted([*documents, "/healthz", "/livez", "/metrics", "/openapi/v2", "/readyz"])}
    return {path: orjson.dumps(document) for path, document in documents.items()}
