"""Internal. What a request asks for: its target, its query options and its body, parsed and refused with a Status.

Pure functions from paths, queries and bytes to values; the handlers act on them. Called by ``router`` and handlers.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import orjson
import yaml

from kontinue_engine.apiserver import selectors, statuses
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.values import MAX_NESTING

JSON_TYPES: Final = ("application/json", "application/yaml")
_FALSE: Final = frozenset({"", "0", "false", "f", "False", "FALSE", "F"})
FIELD_VALIDATIONS: Final = ("Ignore", "Warn", "Strict")


class Target(msgspec.Struct, frozen=True):
    """Which resource, object and subresource a path names; ``namespace`` None means all of them (or cluster-wide)."""

    resource: ResourceInfo
    namespace: str | None
    name: str
    subresource: str


class ListOptions(NamedTuple):
    """Options of list, watch and deletecollection."""

    labels: selectors.LabelSelector
    fields: selectors.FieldSelector
    selector_text: str
    limit: int
    continue_token: str
    resource_version: str
    resource_version_match: str
    is_watch: bool
    allows_bookmarks: bool
    sends_initial_events: bool | None
    timeout_s: float | None


class WriteOptions(NamedTuple):
    """Options of create, update and patch."""

    is_dry_run: bool
    field_validation: str


class Continue(NamedTuple):
    """Where a list goes on: which revision, and the first key that was not listed yet."""

    rev: int
    start: tuple[str, str]


def parse_query(query: str) -> dict[str, str]:
    """Return the query's parameters; the first of equal ones counts, as in Go."""
    if not query:
        return {}
    parameters: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(key, value)
    return parameters


def is_true(text: str) -> bool:
    """Read a boolean parameter as kube-apiserver does: anything but 0 and false."""
    return text not in _FALSE


def parse_list_options(query: dict[str, str], resource: ResourceInfo) -> ListOptions:
    """Read the options of a list or watch.

    Raises:
        StatusError: 400 or 422, one of them cannot be understood or does not go with another.
    """
    label_text, field_text = query.get("labelSelector", ""), query.get("fieldSelector", "")
    initial = query.get("sendInitialEvents")
    timeout = query.get("timeoutSeconds", "")
    options = ListOptions(
        labels=selectors.parse_label_selector(label_text),
        fields=selectors.parse_field_selector(field_text, resource.field_selectors),
        selector_text=f"{label_text}\n{field_text}",
        limit=_number("limit", query.get("limit", "")),
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        is_watch=is_true(query.get("watch", "")),
        allows_bookmarks=is_true(query.get("allowWatchBookmarks", "")),
        sends_initial_events=None if initial is None else is_true(initial),
        timeout_s=float(_number("timeoutSeconds", timeout)) or None,
    )
    problem = _problem(options)
    if problem:
        raise statuses.StatusError(
            422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {problem}', details={"kind": "ListOptions"}
        )
    if options.continue_token and options.resource_version not in {"", "0"}:
        raise statuses.bad_request("specifying resource version is not allowed when using continue")
    return options


def _problem(options: ListOptions) -> str:
    match, version = options.resource_version_match, options.resource_version
    forbidden = "resourceVersionMatch: Forbidden"
    if options.is_watch:
        if options.sends_initial_events is not None and match != "NotOlderThan":
            return f"{forbidden}: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        if match and options.sends_initial_events is None:
            return f"{forbidden}: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        return ""
    if options.sends_initial_events is not None:
        return "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"
    if not match:
        return ""
    if match not in {"Exact", "NotOlderThan"}:
        return f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
    if not version:
        return f"{forbidden}: resourceVersionMatch is forbidden unless resourceVersion is provided"
    if match == "Exact" and version == "0":
        return f'{forbidden}: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    return ""


def _number(name: str, text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise statuses.bad_request(f"{name}: invalid value {text!r}: must be a whole number, not negative")
    return int(text)


def parse_revision(text: str) -> int:
    """Read a resourceVersion parameter.

    Raises:
        StatusError: 400, it is no decimal number.
    """
    if not text.isdecimal() or not text.isascii():
        raise statuses.bad_request(f"Invalid value: {text!r}: resourceVersion must be a decimal number")
    return int(text)


def parse_write_options(query: dict[str, str]) -> WriteOptions:
    """Read the options of a write.

    Raises:
        StatusError: 400, one has a value that does not exist.
    """
    if not query:
        return _PLAIN_WRITE
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in FIELD_VALIDATIONS:
        raise statuses.bad_request(f"fieldValidation: Unsupported value: {validation!r}: one of {FIELD_VALIDATIONS}")
    return WriteOptions(is_dry_run=_is_dry_run(query.get("dryRun", "")), field_validation=validation)


_PLAIN_WRITE: Final = WriteOptions(is_dry_run=False, field_validation="Warn")


def _is_dry_run(value: str) -> bool:
    if value not in {"", "All"}:
        raise statuses.bad_request(f'dryRun: Unsupported value: {value!r}: supported values: "All"')
    return value == "All"


@functools.lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse_body(body: bytes, content_type: str) -> Any:
    """Parse a JSON or YAML body; no Content-Type means JSON.

    Raises:
        StatusError: 415 for other types, 400 when it cannot be parsed.
    """
    kind = media_type(content_type)
    if kind in {"", "application/json"} or kind.endswith("+json"):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise statuses.bad_request(f"the body of the request is not valid JSON: {error}") from error
    if kind in {"application/yaml", "application/apply-patch+yaml"}:
        try:
            _check_yaml_depth(body)
            loaded = yaml.load(body, Loader=_YAML_LOADER)  # noqa: S506 - a safe loader
            # Through JSON: keys become text as in kube-apiserver, and what JSON cannot say is refused.
            return orjson.loads(orjson.dumps(loaded, option=orjson.OPT_NON_STR_KEYS))
        except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
            raise statuses.bad_request(f"the body of the request is not valid YAML: {error}") from error
    raise statuses.unsupported_media_type(JSON_TYPES)


def _check_yaml_depth(body: bytes) -> None:
    """Refuse nesting for which the C parser, which recurses, would run out of stack and take the process down."""
    depth = 0
    for event in yaml.parse(body, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                raise statuses.nested_too_deeply()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Loader(yaml.CSafeLoader):
    """CSafeLoader that leaves dates as the text they were."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_YAML_LOADER: Final = _Loader


def duplicate_fields(body: bytes) -> list[str]:
    """Return the paths of members that a JSON body names twice; only fieldValidation Strict asks."""
    duplicates: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                duplicates.append(key)
            seen[key] = value
        return seen

    try:
        json.loads(body, object_pairs_hook=collect)
    except ValueError:
        return []  # YAML, whose parser keeps the last one
    return duplicates


def encode_continue(rev: int, start: tuple[str, str]) -> str:
    """Return the token that continues a list at ``start``."""
    token = {"v": "meta.k8s.io/v1", "rv": rev, "start": f"{start[0]}/{start[1]}\0"}
    return base64.urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def decode_continue(token: str) -> Continue:
    """Read a continue token; its start is the last key listed, exclusive.

    Raises:
        StatusError: 400, it is not one of ours.
    """
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, slash, name = str(raw["start"]).removesuffix("\0").partition("/")
        if raw["v"] != "meta.k8s.io/v1" or not slash:
            raise ValueError("not a continue token")
        return Continue(int(raw["rv"]), (namespace, name))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise statuses.bad_request(f"continue key is not valid: {error}") from error
