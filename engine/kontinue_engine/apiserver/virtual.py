"""Internal. What is answered and not stored: reviews, bindings, the scale subresource, and the logs of pods (none).

Called by the router for these targets alone; objects behind them are read and written through the same handlers as any
others. The documents are made by ``scale`` and ``builtin.reviews``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import access, patches, requests, scale, statuses, strategic_patch, views
from kontinue_engine.apiserver.apply import options as apply_options
from kontinue_engine.apiserver.builtin import kinds, reviews, types
from kontinue_engine.apiserver.builtin.decoding import Decoder
from kontinue_engine.apiserver.http_protocol import Answer, Request, Response
from kontinue_engine.apiserver.reading import Reader
from kontinue_engine.apiserver.requests import Target
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.writing import Writer

_SUBRESOURCES: Final = frozenset({"binding", "log", "scale"})
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

    def __init__(self, reader: Reader, writer: Writer, authenticator: access.Authenticator) -> None:
        self._reader = reader
        self._writer = writer
        self._authenticator = authenticator

    def answer(
        self, request: Request, target: Target, verb: str, query: dict[str, str], user: str
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer ``request``.

        Raises:
            StatusError: it is refused.
        """
        content_type = request.headers.get(b"content-type", b"").decode("latin-1")
        if target.subresource == "scale":
            if verb == "get":
                return self._read_scale(target, query)
            return self._write_scale(target, verb, request, content_type, query)
        if target.subresource == "log":
            return self._refuse_log(target)
        document = requests.parse_body(request.body, content_type, takes_protobuf=True)
        if target.subresource == "binding" or target.resource.kind == "Binding":
            return self._bind(target, document, query)
        return self._review(target.resource, document, user)

    def _review(self, resource: ResourceInfo, document: Any, user: str) -> Response:
        review = _decoded(resource, document)
        answer = reviews.answer(
            resource, review, user=user, now=self._writer.now_text(), user_of=self._authenticator.user_of
        )
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

    def _refuse_log(self, target: Target) -> Response:
        self._reader.get(Target(target.resource, target.namespace, target.name, ""), {}, _PLAIN)
        raise statuses.bad_request(
            f"pod {target.name} has no log: this server stores pods and runs none; see the logs of what does run them"
        )

    async def _read_scale(self, target: Target, query: dict[str, str]) -> Response:
        answer = self._reader.get(target, query, _PLAIN)
        answer = answer if isinstance(answer, Answer) else await answer
        assert isinstance(answer, Response)  # noqa: S101 - a stream only answers a watch
        return _scale_response(target.resource, answer.body)

    async def _write_scale(
        self, target: Target, verb: str, request: Request, content_type: str, query: dict[str, str]
    ) -> Response:
        paths = target.resource.scale
        assert paths is not None  # noqa: S101 - the router has found the subresource
        is_patch = verb == "patch"
        options = requests.parse_write_options(query, "PatchOptions" if is_patch else "UpdateOptions")
        owner = apply_options.owner(
            query, request.headers.get(b"user-agent", b""), "PatchOptions" if is_patch else "UpdateOptions"
        )
        if is_patch:
            patch, apply = _patch_of(request.body, content_type)
        else:
            document = requests.parse_body(request.body, content_type, takes_protobuf=not target.resource.custom)

        def change(current: dict[str, Any]) -> dict[str, Any]:
            wanted = apply(scale.scale_of(paths, current), patch) if is_patch else document
            return scale.with_scale(paths, current, wanted)

        parent = Target(target.resource, target.namespace, target.name, "")
        stored = await self._writer.change(parent, change, options, verb=verb, owner=owner)
        return _scale_response(target.resource, stored.data)


def _scale_response(resource: ResourceInfo, data: bytes) -> Response:
    assert resource.scale is not None  # noqa: S101 - the router has found the subresource
    return Response(200, orjson.dumps(scale.scale_of(resource.scale, orjson.loads(data))))


def _patch_of(body: bytes, content_type: str) -> tuple[Any, Callable[[Any, Any], Any]]:
    kind = requests.media_type(content_type)
    apply: dict[str, Callable[[Any, Any], Any]] = {
        "application/json-patch+json": patches.apply_json_patch,
        "application/merge-patch+json": patches.apply_merge_patch,
        "application/strategic-merge-patch+json": functools.partial(
            strategic_patch.apply_strategic_patch, scale.SCALES
        ),
    }
    if kind not in apply:
        raise statuses.unsupported_media_type(apply)
    patch = requests.parse_json(body)
    if "merge" in kind and not isinstance(patch, dict):
        raise statuses.bad_request("a merge patch must be an object")
    return patch, apply[kind]


def _decoded(resource: ResourceInfo, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise statuses.bad_request("the body of the request must be an object")
    struct = types.struct_of(resource.group, resource.version, resource.kind)
    assert struct is not None  # noqa: S101 - a unit test asks for that of every built-in kind
    if document.get("kind", resource.kind) != resource.kind:
        raise statuses.bad_request(f"the body of the request is no {resource.kind}")
    decoded = Decoder(resource.kind, resource.version).struct(struct, document)
    return {**decoded, "kind": resource.kind, "apiVersion": resource.api_version}
