"""Internal. What a request asks for: its target, its query options and its body, parsed and refused with a Status.

Pure functions from paths, queries and bytes to values; the handlers act on them. Called by ``router`` and handlers.
"""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import protobuf
from kontinue_engine.apiserver.http import yaml_bodies
from kontinue_engine.apiserver.resources import ResourceInfo

JSON_TYPES: Final = ("application/json", "application/yaml")
PROTOBUF_TYPE: Final = "application/vnd.kubernetes.protobuf"
FIELD_VALIDATIONS: Final = ("Ignore", "Warn", "Strict")


class Target(msgspec.Struct, frozen=True):
    """Which resource, object and subresource a path names; ``namespace`` None means all of them (or cluster-wide)."""

    resource: ResourceInfo
    namespace: str | None
    name: str
    subresource: str


class WriteOptions(NamedTuple):
    """Options of create, update and patch.

    Attributes:
        finds_duplicates: whether to look for members that the body names twice. Only for who asks for fieldValidation,
            which kubectl does: it costs as much as the whole write.
        is_patch: what cannot be decoded is then the patch's fault.
    """

    is_dry_run: bool
    field_validation: str
    finds_duplicates: bool = False
    is_patch: bool = False


def parse_query(query: str) -> dict[str, str]:
    """Return the query's parameters; the first of equal ones counts, as in Go."""
    if not query:
        return {}
    parameters: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(key, value)
    return parameters


def is_true(text: str | None) -> bool:
    """Read a boolean parameter as kube-apiserver does: anything but absence, ``0`` and ``false``."""
    return text is not None and text != "0" and text.lower() != "false"


def parse_write_options(query: dict[str, str], kind: str = "PatchOptions") -> WriteOptions:
    """Read the options of a write.

    Args:
        query: of the request.
        kind: of the options: CreateOptions, UpdateOptions or PatchOptions.

    Raises:
        StatusError: 422, one has a value that does not exist.
    """
    is_patch = kind == "PatchOptions"
    if not query:
        return _PLAIN_PATCH if is_patch else _PLAIN_WRITE
    causes: list[statuses.Cause] = []
    dry_run, given = query.get("dryRun"), query.get("fieldValidation") or ""
    if dry_run not in {None, "All"}:
        causes.append(
            statuses.cause("FieldValueNotSupported", "dryRun", value=[dry_run], detail='supported values: "All"')
        )
    if given and given not in FIELD_VALIDATIONS:
        detail = "supported values: " + ", ".join(f'"{value}"' for value in ("", *sorted(FIELD_VALIDATIONS)))
        causes.append(statuses.cause("FieldValueNotSupported", "fieldValidation", value=given, detail=detail))
    if causes:
        raise statuses.invalid_options(kind, causes)
    return WriteOptions(dry_run == "All", given or "Warn", given in {"Warn", "Strict"}, is_patch)


_PLAIN_WRITE: Final = WriteOptions(is_dry_run=False, field_validation="Warn")
_PLAIN_PATCH: Final = WriteOptions(is_dry_run=False, field_validation="Warn", is_patch=True)


@functools.lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse_body(body: bytes, content_type: str, *, takes_protobuf: bool = False) -> Any:
    """Parse a JSON or YAML body, or where it is taken Kubernetes' protobuf; no Content-Type means JSON.

    Raises:
        StatusError: 415 for other types, 400 when it cannot be parsed.
    """
    kind = media_type(content_type)
    if kind in {"", "application/json"}:
        return parse_json(body)
    if kind in {"application/yaml", "application/apply-patch+yaml"}:
        return yaml_bodies.parse(body)
    if kind == PROTOBUF_TYPE and takes_protobuf:
        return protobuf.decode_body(body)
    raise statuses.unsupported_media_type((*JSON_TYPES, PROTOBUF_TYPE) if takes_protobuf else JSON_TYPES)


def parse_json(body: bytes) -> Any:
    """Parse a JSON body, such as a patch.

    Raises:
        StatusError: 400, it cannot be parsed.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise statuses.bad_request(f"the body of the request is not valid JSON: {error}") from error
