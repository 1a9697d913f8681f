"""Internal. Our CustomResourceDefinitions: how those of a cluster differ from the ones of this version. Pure.

They carry no version of their own, and may have been installed by kubectl, helm or us; so what they say is compared.
A field that the cluster has and we do not know means that it serves a newer kontinue: to install ours would take the
field away from everybody. Called by ``kontinue install`` and ``kontinue doctor``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from kontinue.api.konductor import group

_IN_VERSION: Final = ("served", "storage", "subresources", "selectableFields", "additionalPrinterColumns")
_NO_SHAPE: Final = {"properties", "items", "additionalProperties", "description"}
_SHOWN: Final = 3


class State(enum.StrEnum):
    """How one that is installed compares with ours."""

    ABSENT = "absent"
    CURRENT = "current"
    OLDER = "older"
    """It lacks fields that we write: the server would drop them."""
    NEWER = "newer"
    """It has fields that we do not know."""
    DIFFERENT = "different"
    """The same fields, with other rules, columns or names."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One CustomResourceDefinition, ours against the cluster's.

    Attributes:
        missing: fields that the cluster's lacks, as ``status.memoPages``.
        surplus: fields that ours lacks.
        changed: fields and parts that both have, and that say something else.
    """

    state: State
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = {"lacks": self.missing, "has also": self.surplus, "has otherwise": self.changed}
        return "; ".join(f"{verb} {_some(fields)}" for verb, fields in parts.items() if fields)


def in_groups(crds: Sequence[Mapping[str, Any]], api_groups: Sequence[str]) -> list[dict[str, Any]]:
    """Return the definitions with those of primitives once for each of ``api_groups``."""
    return [
        _in_group(crd, name)
        for crd in crds
        for name in (api_groups if crd["spec"]["group"] == group.GROUP else (crd["spec"]["group"],))
    ]


def compare(ours: Mapping[str, Any], installed: Mapping[str, Any] | None) -> Comparison:
    """Compare what is installed, None for nothing, with ours. Descriptions do not count."""
    if installed is None:
        return Comparison(state=State.ABSENT)
    wanted, found = dict(_facts(ours["spec"])), dict(_facts(_without_defaults(installed["spec"], ours["spec"])))
    missing = tuple(name for name in wanted if name not in found)
    surplus = tuple(name for name in found if name not in wanted)
    changed = tuple(name for name, shape in wanted.items() if name in found and found[name] != shape)
    if surplus:
        state = State.NEWER
    elif missing:
        state = State.OLDER
    else:
        state = State.DIFFERENT if changed else State.CURRENT
    return Comparison(state=state, missing=missing, surplus=surplus, changed=changed)


def is_established(installed: Mapping[str, Any]) -> bool:
    """Tell whether the server serves it."""
    conditions = installed.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _in_group(crd: Mapping[str, Any], api_group: str) -> dict[str, Any]:
    spec = {**crd["spec"], "group": api_group}
    return {**crd, "metadata": {**crd["metadata"], "name": f"{spec['names']['plural']}.{api_group}"}, "spec": spec}


def _facts(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "names", spec.get("names", {})
    yield "scope", spec.get("scope")
    for version in spec.get("versions", ()):
        name = version["name"]
        yield name, {part: version[part] for part in _IN_VERSION if part in version}
        yield from _fields(version.get("schema", {}).get("openAPIV3Schema", {}), "")


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield each field with what its schema says, without the fields below it."""
    yield path or "the object", {key: value for key, value in schema.items() if key not in _NO_SHAPE}
    for name, below in schema.get("properties", {}).items():
        yield from _fields(below, f"{path}.{name}" if path else name)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(below := schema.get(key), Mapping):
            yield from _fields(below, path + mark)


def _without_defaults(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``found`` without names that we leave to the server."""
    names = {key: value for key, value in found.get("names", {}).items() if key in wanted["names"]}
    return {**found, "names": names}


def _some(fields: tuple[str, ...]) -> str:
    more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
    return ", ".join(fields[:_SHOWN]) + more
