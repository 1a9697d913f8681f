"""Internal. ``metadata.managedFields``: which manager owns which fields, read, written and kept short.

A manager is a name with an operation (Apply or Update) and a subresource; of Update also the apiVersion counts, so that
one name may have several entries. Called by ``kontinue_engine.apiserver.apply.tracking`` and ``ownership``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from kontinue_engine.apiserver.apply import field_sets
from kontinue_engine.apiserver.apply.field_sets import FieldSet

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATE_MANAGERS: Final = 10
"""As in kube-apiserver."""
MAX_NAME_LENGTH: Final = 128
OLD_UPDATES: Final = "ancient-changes"
"""Who the oldest entries go to when there are too many."""
UNKNOWN: Final = "unknown"
"""Who has no name."""
_FIELDS_TYPE: Final = "FieldsV1"


class Manager(NamedTuple):
    """Who owns fields; ``api_version`` only of Update."""

    name: str
    operation: str
    api_version: str
    subresource: str

    @classmethod
    def of(cls, name: str, operation: str, api_version: str, subresource: str) -> Manager:
        """Return the manager of a request."""
        return cls(name or UNKNOWN, operation, "" if operation == APPLY else api_version, subresource)

    def __str__(self) -> str:
        shown = orjson.dumps(self.name).decode()
        if self.subresource:
            shown += f" with subresource {orjson.dumps(self.subresource).decode()}"
        return shown if self.operation == APPLY else f"{shown} using {self.api_version}"


class Owned(NamedTuple):
    """What a manager owns; ``time`` None: it never changed the object."""

    fields: FieldSet
    api_version: str
    time: str | None


Owners = dict[Manager, Owned]


class InvalidEntriesError(ValueError):
    """Something is no list of managedFields entries."""


def decode(entries: Any) -> Owners:
    """Read managedFields.

    Raises:
        InvalidEntriesError: they are malformed.
    """
    if not isinstance(entries, list):
        raise InvalidEntriesError("managedFields must be an array")
    owners: Owners = {}
    for entry in entries:
        name, operation, api_version, subresource = _texts(entry)
        if operation not in {APPLY, UPDATE} or not api_version or entry.get("fieldsType") != _FIELDS_TYPE:
            raise InvalidEntriesError("managedFields entries need operation, apiVersion and fieldsType FieldsV1")
        time = entry.get("time")
        if not isinstance(time, str | None):
            raise InvalidEntriesError("time of a managedFields entry must be a string")
        try:
            fields = field_sets.parse(entry.get("fieldsV1") or {})
        except field_sets.FieldSetError as error:
            raise InvalidEntriesError(str(error)) from error
        owners[Manager.of(name, operation, api_version, subresource)] = Owned(fields, api_version, time or None)
    return owners


def _texts(entry: Any) -> tuple[str, str, str, str]:
    if not isinstance(entry, dict):
        raise InvalidEntriesError("managedFields entries must be objects")
    values = [entry.get(key) or "" for key in ("manager", "operation", "apiVersion", "subresource")]
    if not all(isinstance(value, str) for value in values):
        raise InvalidEntriesError("manager, operation, apiVersion and subresource must be strings")
    return values[0], values[1], values[2], values[3]


def encode(owners: Owners) -> list[dict[str, Any]]:
    """Return managedFields in the order of kube-apiserver: appliers first, oldest first."""
    ordered = sorted(
        owners.items(),
        key=lambda item: (
            item[0].operation,
            item[1].time or "",
            item[0].name,
            item[1].api_version,
            item[0].subresource,
        ),
    )
    return [_entry(manager, owned) for manager, owned in ordered]


def _entry(manager: Manager, owned: Owned) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": owned.api_version,
    }
    if owned.time:
        entry["time"] = owned.time
    entry["fieldsType"] = _FIELDS_TYPE
    entry["fieldsV1"] = field_sets.dump(owned.fields)
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def capped(owners: Owners) -> Owners:
    """Return ``owners`` with the oldest Update entries put together per version, where there are too many."""
    updaters = [manager for manager in owners if manager.operation == UPDATE]
    excess = len(updaters) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return owners
    result = dict(owners)
    first_of_version: dict[str, Manager] = {}
    for manager in sorted(updaters, key=lambda manager: (owners[manager].time or "", manager)):
        if excess <= 0:
            break
        owned = owners[manager]
        first = first_of_version.setdefault(owned.api_version, manager)
        if first is manager:
            continue
        bucket = Manager.of(OLD_UPDATES, UPDATE, owned.api_version, "")
        before = result.get(bucket) or result.pop(first)
        result[bucket] = Owned(before.fields | owned.fields, owned.api_version, owned.time)
        del result[manager]
        excess -= 1
    return result


def name_of_user_agent(agent: bytes) -> str:
    """Return the name of a client that gives none: what its User-Agent says before the first slash."""
    program = agent.decode("utf-8", "replace").partition("/")[0]
    name = ""
    for character in filter(str.isprintable, program):
        if len((name + character).encode()) > MAX_NAME_LENGTH:
            break
        name += character
    return name


def name_problem(name: str) -> str:
    """Say why ``name`` cannot be a manager's; empty when it can."""
    if len(name.encode()) > MAX_NAME_LENGTH:
        return f"may not be more than {MAX_NAME_LENGTH} bytes"
    for at, character in enumerate(name):
        if not character.isprintable():
            return f"invalid character U+{ord(character):04X} (at position {at})"
    return ""
