"""Internal. What is answered and not stored: reviews, bindings, and the logs of pods (``pod_logs``).

Called by the router for these targets alone; the Pods behind them are read and written through the same handlers as any
other object. Reviews are answered by ``builtin.reviews``.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import kinds, types
from kontinue_engine.apiserver.builtin.decoding import Decoder
from kontinue_engine.apiserver.discovery import reviews
from kontinue_engine.apiserver.http import access, requests
from kontinue_engine.apiserver.http.http_protocol import Answer, Request, Response
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects.writing import Writer
from kontinue_engine.apiserver.pod_logs import PodLogs, parse_options
from kontinue_engine.apiserver.reads import views
from kontinue_engine.apiserver.reads.reading import Reader
from kontinue_engine.apiserver.resources import ResourceInfo

_SUBRESOURCES: Final = frozenset({"binding", "log"})
_CREATE_ONLY: Final = ("create",)
_PLAIN: Final = views.View()
_SCHEDULED: Final = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
_POD_BINDINGS: Final = ResourceInfo(
    group="", version="v1", plural="pods/binding", kind="Binding", singular="binding", list_kind="BindingList"
)
"""How a refusal names what was asked for."""


def is_virtual(target: Target) -> bool:
    """Tell whether ``target`` is answered here."""
    return target.subresource in _SUBRESOURCES or target.resource.verbs == _CREATE_ONLY


class Virtual:
    """Answers requests for what is not stored."""

    def __init__(self, reader: Reader, writer: Writer, authenticator: access.Access, pod_logs: PodLogs) -> None:
        self._reader = reader
        self._writer = writer
        self._authenticator = authenticator
        self._pod_logs = pod_logs

    def answer(
        self, request: Request, target: Target, query: dict[str, str], user: str
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer ``request``.

        Raises:
            StatusError: it is refused.
        """
        if target.subresource == "log":
            return self._log(target, query)
        content_type = request.headers.get(b"content-type", b"").decode("latin-1")
        document = requests.parse_body(request.body, content_type, takes_protobuf=True)
        if target.subresource == "binding" or target.resource.kind == "Binding":
            return self._bind(target, document, query)
        return self._review(target.resource, document, user)

    def _review(self, resource: ResourceInfo, document: Any, user: str) -> Response:
        review = _decoded(resource, document)
        answer = reviews.answer(resource, review, user=user, now=self._writer.now_text(), policy=self._authenticator)
        return Response(201, orjson.dumps(answer))

    async def _bind(self, target: Target, document: Any, query: dict[str, str]) -> Response:
        binding = _decoded(kinds.BINDINGS, document)
        name = target.name or binding["metadata"].get("name", "")
        node = binding["target"].get("name")
        if not node or binding["target"].get("kind", "Node") != "Node":
            found = statuses.cause("FieldValueRequired", "target.name", detail="the name of a Node")
            raise statuses.invalid(kinds.BINDINGS, name, [found])

        def bind(pod: dict[str, Any]) -> dict[str, Any]:
            if pod["spec"].get("nodeName"):
                problem = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
                raise statuses.conflict(_POD_BINDINGS, name, problem)
            status = pod.get("status") or {}
            conditions = [entry for entry in status.get("conditions") or () if entry.get("type") != "PodScheduled"]
            condition = {**_SCHEDULED, "lastTransitionTime": self._writer.now_text()}
            status = {**status, "conditions": [*conditions, condition]}
            return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}

        options = requests.parse_write_options(query, "CreateOptions")
        pod = Target(kinds.PODS, target.namespace, name, "binding")
        await self._writer.change(pod, bind, options, verb="create")
        return Response(201, orjson.dumps(statuses.build_status(201, details=None)))

    def _log(self, target: Target, query: dict[str, str]) -> Answer:
        def find() -> dict[str, Any]:
            answer = self._reader.get(Target(target.resource, target.namespace, target.name, ""), {}, _PLAIN)
            assert isinstance(answer, Response)  # noqa: S101 - only a wanted revision is waited for
            found: dict[str, Any] = orjson.loads(answer.body)
            return found

        def find_again() -> dict[str, Any] | None:
            try:
                return find()
            except statuses.StatusError:
                return None

        now = datetime.fromisoformat(self._writer.now_text())
        return self._pod_logs.answer(find(), find_again, parse_options(query, now))


def _decoded(resource: ResourceInfo, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise statuses.bad_request("the body of the request must be an object")
    struct = types.struct_of(resource.group, resource.version, resource.kind)
    assert struct is not None  # noqa: S101 - a unit test asks for that of every built-in kind
    if document.get("kind", resource.kind) != resource.kind:
        raise statuses.bad_request(f"the body of the request is no {resource.kind}")
    decoded = Decoder(resource.kind, resource.version).struct(struct, document)
    return {**decoded, "kind": resource.kind, "apiVersion": resource.api_version}
