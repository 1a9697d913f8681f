"""Internal. Rules of ``metadata`` that hold for every kind: names, labels, annotations, owner references, finalizers.

``validate`` is asked by the handlers on every create and update, beside the schema of the kind. System fields (uid,
creationTimestamp, generation ...) are set by the handlers and not judged here. No I/O.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

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
_OWNER_FIELDS: Final = ("apiVersion", "kind", "name", "uid")


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


def validate(metadata: dict[str, Any], *, is_namespace: bool = False) -> list[Cause]:
    """Return what is wrong with ``metadata`` of an object that has its final name.

    Types count too: a label whose value is a number is refused here, as nothing else looks at metadata.
    """
    name = metadata.get("name", "")
    if not isinstance(name, str):
        return [_wrong_type("metadata.name", name, "string")]
    problem = dns_label_problem(name) if is_namespace else subdomain_problem(name)
    causes = [cause("FieldValueInvalid", "metadata.name", value=name, detail=problem)] if problem else []
    if "labels" in metadata:
        causes += _string_map("metadata.labels", metadata["labels"], are_labels=True)
    if "annotations" in metadata:
        causes += _string_map("metadata.annotations", metadata["annotations"], are_labels=False)
    if "ownerReferences" in metadata:
        causes += _owner_references(metadata["ownerReferences"])
    if "finalizers" in metadata:
        causes += _finalizers(metadata["finalizers"])
    return causes


def _string_map(path: str, entries: Any, *, are_labels: bool) -> list[Cause]:
    if entries is None:
        return []
    if not isinstance(entries, dict):
        return [_wrong_type(path, entries, "object")]
    causes: list[Cause] = []
    size_bytes = 0
    for key, value in entries.items():
        if problem := qualified_name_problem(key):
            causes.append(cause("FieldValueInvalid", path, value=key, detail=problem))
        if not isinstance(value, str):
            causes.append(_wrong_type(f"{path}.{key}", value, "string"))
        elif are_labels:
            if problem := label_value_problem(value):
                causes.append(cause("FieldValueInvalid", path, value=value, detail=problem))
        else:
            size_bytes += len(key.encode()) + len(value.encode())
    if size_bytes > MAX_ANNOTATIONS_BYTES:
        causes.append(cause("FieldValueTooLong", path, detail=f"may not be more than {MAX_ANNOTATIONS_BYTES} bytes"))
    return causes


def _owner_references(references: Any) -> list[Cause]:
    path = "metadata.ownerReferences"
    if references is None:
        return []
    if not isinstance(references, list):
        return [_wrong_type(path, references, "array")]
    causes: list[Cause] = []
    controllers: list[str] = []
    for index, reference in enumerate(references):
        at = f"{path}[{index}]"
        if not isinstance(reference, dict):
            causes.append(_wrong_type(at, reference, "object"))
            continue
        for field in _OWNER_FIELDS:
            value = reference.get(field, "")
            if not isinstance(value, str):
                causes.append(_wrong_type(f"{at}.{field}", value, "string"))
            elif not value:
                detail = f"{field} must not be empty"
                causes.append(cause("FieldValueInvalid", f"{at}.{field}", value=value, detail=detail))
        if reference.get("controller") is True:
            controllers.append(str(reference.get("name")))
    if len(controllers) > 1:
        detail = 'Only one reference can have Controller set to true. Found "true" in references for ' + " and ".join(
            controllers
        )
        causes.append(cause("FieldValueInvalid", path, value=controllers, detail=detail))
    return causes


def _finalizers(finalizers: Any) -> list[Cause]:
    path = "metadata.finalizers"
    if finalizers is None:
        return []
    if not isinstance(finalizers, list):
        return [_wrong_type(path, finalizers, "array")]
    causes: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        at = f"{path}[{index}]"
        if not isinstance(finalizer, str):
            causes.append(_wrong_type(at, finalizer, "string"))
        elif problem := qualified_name_problem(finalizer):
            causes.append(cause("FieldValueInvalid", at, value=finalizer, detail=problem))
    return causes


def _wrong_type(path: str, value: object, wanted: str) -> Cause:
    return cause("FieldValueTypeInvalid", path, value=value, detail=f"must be of type {wanted}")
