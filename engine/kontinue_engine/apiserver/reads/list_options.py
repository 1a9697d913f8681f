"""Internal. What a list, watch or deletecollection asks for: selectors, revision, page, and how it is told.

Pure functions from the query to ``ListOptions``; what cannot be understood, or does not go together, is refused as
kube-apiserver does. Called by ``reading`` and ``router``; ``watch`` acts on the result.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final, NamedTuple

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.reads import selectors
from kontinue_engine.apiserver.resources import ResourceInfo

MAX_REVISION: Final = 2**64 - 1
_MAX_INTEGER: Final = 2**63 - 1
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,64}")
_DECIMAL: Final = re.compile(r"[0-9]{1,64}")
_NOW: Final = ("", "0")
"""The revisions that do not name one."""


class ListOptions(NamedTuple):
    """Options of list, watch and deletecollection.

    Attributes:
        limit: objects of a page at most; 0: all.
        sends_initial_events: whether a watch begins with what is there; None: it begins after a revision.
        timeout_s: None: the server's own; negative: over at once.
    """

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

    @property
    def rev(self) -> int:
        """The revision named, 0 for none."""
        return int(self.resource_version or 0)


class Continue(NamedTuple):
    """Where a list goes on: at which revision (negative: the newest), and from which key below the list's own."""

    rev: int
    start: str


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


def parse_list_options(query: dict[str, str], resource: ResourceInfo) -> ListOptions:
    """Read the options of a list or watch.

    Raises:
        StatusError: 400 or 422, one of them cannot be understood or does not go with another.
    """
    label_text, field_text = query.get("labelSelector", ""), query.get("fieldSelector", "")
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        labels=selectors.parse_label_selector(label_text),
        fields=selectors.parse_field_selector(field_text, resource.field_selectors).renamed(resource.field_aliases),
        selector_text=f"{label_text}\n{field_text}",
        limit=max(_integer("limit", query.get("limit", "")), 0),
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        is_watch=requests.is_true(query.get("watch")),
        allows_bookmarks=requests.is_true(query.get("allowWatchBookmarks")),
        sends_initial_events=None if initial is None else requests.is_true(initial),
        timeout_s=float(_integer("timeoutSeconds", query.get("timeoutSeconds", ""))) or None,
    )
    if options.is_watch and options.resource_version in _NOW and initial is None and not options.resource_version_match:
        options = options._replace(sends_initial_events=True, resource_version_match="NotOlderThan")
    causes = _watch_problems(options) if options.is_watch else _list_problems(options)
    if causes:
        raise statuses.invalid_options("ListOptions", causes)
    if options.continue_token and options.resource_version not in _NOW:
        raise statuses.bad_request("specifying resource version is not allowed when using continue")
    if options.resource_version:
        parse_revision(options.resource_version)
    return options


def _list_problems(options: ListOptions) -> list[statuses.Cause]:
    causes = []
    if match := options.resource_version_match:
        if not options.resource_version:
            causes.append(_forbidden_match("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_token:
            causes.append(_forbidden_match("resourceVersionMatch is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes.append(_unsupported_match(match, '"Exact", "NotOlderThan", ""'))
        if match == "Exact" and options.resource_version == "0":
            causes.append(_forbidden_match('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.sends_initial_events is not None:
        detail = "sendInitialEvents is forbidden for list"
        causes.append(statuses.cause("FieldValueForbidden", "sendInitialEvents", detail=detail))
    return causes


def _watch_problems(options: ListOptions) -> list[statuses.Cause]:
    causes = []
    match = options.resource_version_match
    if options.sends_initial_events is not None and match != "NotOlderThan":
        causes.append(_forbidden_match("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match:
        if options.sends_initial_events is None:
            detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(_forbidden_match(detail))
        if match != "NotOlderThan":
            causes.append(_unsupported_match(match, '"NotOlderThan"'))
        if options.continue_token:
            causes.append(_forbidden_match("resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _forbidden_match(detail: str) -> statuses.Cause:
    return statuses.cause("FieldValueForbidden", "resourceVersionMatch", detail=detail)


def _unsupported_match(match: str, supported: str) -> statuses.Cause:
    detail = f"supported values: {supported}"
    return statuses.cause("FieldValueNotSupported", "resourceVersionMatch", value=match, detail=detail)


def _integer(name: str, text: str) -> int:
    if not text:
        return 0
    number = int(text) if _INTEGER.fullmatch(text) else _MAX_INTEGER + 1
    if not -_MAX_INTEGER <= number <= _MAX_INTEGER:
        raise statuses.bad_request(f"{name}: invalid value {text!r}: must be an integer of at most 64 bits")
    return number


def parse_revision(text: str) -> int:
    """Read a resourceVersion parameter.

    Raises:
        StatusError: 400, it is no decimal number of at most 64 bits.
    """
    rev = int(text) if _DECIMAL.fullmatch(text) else MAX_REVISION + 1
    if rev > MAX_REVISION:
        raise statuses.bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {text!r}: must be a decimal number of 64 bits"
        )
    return rev


def encode_continue(rev: int, last: str) -> str:
    """Return the token that continues a list behind the key ``last``."""
    token = msgspec.json.encode(_Token("meta.k8s.io/v1", rev, f"{last}\0"))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_continue(token: str) -> Continue:
    """Read a continue token.

    Raises:
        StatusError: 400, it is not one of ours.
    """
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(raw, type=_Token)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _bad_token(str(error)) from error
    start = found.start.removeprefix("/")
    if found.v != "meta.k8s.io/v1" or not found.rv or abs(found.rv) > _MAX_INTEGER or not start:
        raise _bad_token("it lacks a version, a revision or a start")
    if any(part in {"", ".", ".."} for part in start.split("/")):
        raise _bad_token(f"start {start!r}")
    return Continue(found.rv, start)


def _bad_token(problem: Any) -> statuses.StatusError:
    return statuses.bad_request(f"invalid continue token: continue key is not valid: {problem}")
