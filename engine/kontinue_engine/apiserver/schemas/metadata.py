"""Internal. Rules of ``metadata`` that hold for every kind: names, labels, annotations, owner references, finalizers.

``validate`` is asked by the handlers on every create and update, beside the schema of the kind. System fields (uid,
creationTimestamp, generation ...) are set by the handlers and not judged here. No I/O.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.statuses import Cause, cause

MAX_NAME_LENGTH: Final = 253
MAX_KEY_LENGTH: Final = MAX_NAME_LENGTH + 1 + 63
"""Of a label or annotation: a subdomain, a slash and a name."""
MAX_GENERATED_PREFIX: Final = 58
"""generateName is cut to this before five random characters are added, as in kube-apiserver."""
NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""What those characters are taken from: no vowels, so no words."""
MAX_ANNOTATIONS_BYTES: Final = 256 * 1024

_LABEL_1123: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_LABEL_1035: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_1123: Final = re.compile(rf"{_LABEL_1123.pattern}(?:\.{_LABEL_1123.pattern})*")
_QUALIFIED: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN_1123.pattern}')"
)
_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name', regex used for validation is '{_LABEL_1123.pattern}')"
)
_LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name', regex used for validation is '{_LABEL_1035.pattern}')"
)
_QUALIFIED_TEXT: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName', or 'my.name', regex used for validation is '{_QUALIFIED.pattern}')"
)
_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'MyValue', regex used for validation is '{_QUALIFIED.pattern}')"
)
_STANDARD_FINALIZERS: Final = frozenset({"foregroundDeletion", "kubernetes", "orphan"})


class _OwnerReference(msgspec.Struct, rename="camel", gc=False):
    api_version: str | None = None
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(msgspec.Struct, rename="camel", gc=False):
    """Types of metadata; unknown members are left to pruning."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    self_link: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None
    owner_references: list[_OwnerReference] | None = None
    finalizers: list[str] | None = None
    managed_fields: list[dict[str, Any]] | None = None


def subdomain_problem(text: str) -> str:
    """Say why ``text`` is no DNS-1123 subdomain; empty when it is one."""
    if len(text) > MAX_NAME_LENGTH:
        return f"must be no more than {MAX_NAME_LENGTH} characters"
    return "" if _SUBDOMAIN_1123.fullmatch(text) else _SUBDOMAIN_TEXT


def dns_label_problem(text: str) -> str:
    """Say why ``text`` is no DNS-1123 label (the form of namespace names); empty when it is one."""
    if len(text) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1123.fullmatch(text) else _LABEL_TEXT


def dns_1035_label_problem(text: str) -> str:
    """Say why ``text`` is no DNS-1035 label (the form of resource names and versions); empty when it is one."""
    if len(text) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1035.fullmatch(text) else _LABEL_1035_TEXT


def qualified_name_problem(key: str) -> str:
    """Say why ``key`` is no label or annotation key (``[prefix/]name``); empty when it is one."""
    # The same few keys come with every object. Longer ones are refused anyway and not worth remembering.
    return _qualified_name_problem(key) if len(key) > MAX_KEY_LENGTH else _known_key_problem(key)


def _qualified_name_problem(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and (problem := subdomain_problem(prefix)):
        return f"prefix part {problem}"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    return "" if _QUALIFIED.fullmatch(name) else _QUALIFIED_TEXT


_known_key_problem: Final = functools.lru_cache(maxsize=1024)(_qualified_name_problem)


def label_value_problem(value: str) -> str:
    """Say why ``value`` is no label value; empty when it is one."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    return "" if not value or _QUALIFIED.fullmatch(value) else _VALUE_TEXT


def path_segment_problem(text: str) -> str:
    """Say why ``text`` cannot stand in a path (the form of names of roles, as ``system:reader``); empty when it can."""
    if text in {".", ".."}:
        return f"may not be '{text}'"
    return next((f"may not contain '{sign}'" for sign in "/%" if sign in text), "" if text else "must not be empty")


def validate(
    metadata: dict[str, Any], *, find_problem: Callable[[str], str] = subdomain_problem, is_custom: bool = True
) -> list[Cause]:
    """Return what is wrong with ``metadata`` of an object that has its final name and well-typed metadata.

    Args:
        metadata: of the object.
        find_problem: says what is wrong with a name of its kind.
        is_custom: whether a CRD defines the kind.
    """
    causes: list[Cause] = []
    if "generateName" in metadata:
        prefix = metadata["generateName"]
        # The characters that follow make good a dash at the end.
        if problem := find_problem(f"{prefix[:-1]}a" if len(prefix) > 1 and prefix[-1] == "-" else prefix):
            causes.append(cause("FieldValueInvalid", "metadata.generateName", value=prefix, detail=problem))
    name = metadata.get("name", "")
    if problem := find_problem(name):
        causes.append(cause("FieldValueInvalid", "metadata.name", value=name, detail=problem))
    if "labels" in metadata:
        causes += _labels(metadata["labels"])
    if "annotations" in metadata:
        causes += _annotations(metadata["annotations"])
    if "ownerReferences" in metadata:
        causes += _owner_references(metadata["ownerReferences"])
    if "finalizers" in metadata:
        causes += _finalizers(metadata["finalizers"], is_custom=is_custom)
    return causes


def _labels(labels: dict[str, str]) -> list[Cause]:
    path = "metadata.labels"
    causes: list[Cause] = []
    for key, value in labels.items():
        if problem := qualified_name_problem(key):
            causes.append(cause("FieldValueInvalid", path, value=key, detail=problem))
        if problem := label_value_problem(value):
            causes.append(cause("FieldValueInvalid", path, value=value, detail=problem))
    return causes


def _annotations(annotations: dict[str, str]) -> list[Cause]:
    path = "metadata.annotations"
    causes: list[Cause] = []
    size_bytes = 0
    for key, value in annotations.items():
        if problem := qualified_name_problem(key.lower()):
            causes.append(cause("FieldValueInvalid", path, value=key, detail=problem))
        size_bytes += len(key.encode()) + len(value.encode())
    if size_bytes > MAX_ANNOTATIONS_BYTES:
        causes.append(cause("FieldValueTooLong", path, detail=f"may not be more than {MAX_ANNOTATIONS_BYTES} bytes"))
    return causes


def _owner_references(references: list[dict[str, Any]]) -> list[Cause]:
    path = "metadata.ownerReferences"
    causes: list[Cause] = []
    controllers: list[str] = []
    for reference in references:
        api_version = reference.get("apiVersion") or ""
        if not api_version or api_version.count("/") > 1 or api_version.endswith("/"):
            detail = "version must not be empty"
            causes.append(cause("FieldValueInvalid", f"{path}.apiVersion", value=api_version, detail=detail))
        causes += [
            cause("FieldValueInvalid", f"{path}.{field}", value="", detail="must not be empty")
            for field in ("kind", "name", "uid")
            if not reference.get(field)
        ]
        if (api_version, reference.get("kind")) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            causes.append(cause("FieldValueInvalid", path, value=reference, detail=detail))
        if reference.get("controller"):
            controllers.append(reference.get("name") or "")
    if len(controllers) > 1:
        detail = 'Only one reference can have Controller set to true. Found "true" in references for ' + " and ".join(
            controllers
        )
        causes.append(cause("FieldValueInvalid", path, value=controllers, detail=detail))
    return causes


def _finalizers(finalizers: list[str], *, is_custom: bool) -> list[Cause]:
    path = "metadata.finalizers"
    causes: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        if problem := qualified_name_problem(finalizer):
            causes.append(cause("FieldValueInvalid", path, value=finalizer, detail=problem))
        elif not is_custom and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(cause("FieldValueInvalid", f"{path}[{index}]", value=finalizer, detail=detail))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(cause("FieldValueInvalid", path, value=finalizers, detail=detail))
    return causes


def check_name(metadata: dict[str, Any], name: str) -> None:
    """Refuse metadata that name no object, or another one than the path does.

    Raises:
        StatusError: 400.
    """
    if not metadata.get("name"):
        raise statuses.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if metadata["name"] != name:
        raise statuses.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
