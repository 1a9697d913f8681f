"""Internal. The status of a CustomResourceDefinition: accepted names, conditions, stored versions, and its deletion.

kube-apiserver's controllers write it some time after a CRD was stored; here it is part of the write itself. A CRD is
judged by ``kontinue_engine.apiserver.custom.definitions`` before. Called by it, ``crd_controller``, ``deletion`` and
the registry. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"


def is_established(crd: dict[str, Any]) -> bool:
    """Tell whether what ``crd`` defines is served."""
    return _condition(crd.get("status") or {}, "Established").get("status") == "True"


def group_of(name: str) -> str:
    """Return the group of the CRD of that name; only CRDs of one group can want the same names."""
    return name.partition(".")[2]


def with_status(crd: dict[str, Any], others: Iterable[dict[str, Any]], *, now: str) -> dict[str, Any]:
    """Return ``crd`` with the names that it may have beside ``others``, its stored versions and conditions."""
    status = crd.get("status") or {}
    accepted, problem = _accepted_names(crd["spec"]["names"], status.get("acceptedNames") or {}, _taken(crd, others))
    conditions = list(status.get("conditions") or [])
    if problem is None:
        conditions = _with_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    else:
        conditions = _with_condition(conditions, "NamesAccepted", "False", *problem, now)
    if not is_established(crd):
        reason = ("NotAccepted", "not all names are accepted")
        if problem is None:
            reason = ("InitialNamesAccepted", "the initial names have been accepted")
        conditions = _with_condition(conditions, "Established", "True" if problem is None else "False", *reason, now)
    storage = [version["name"] for version in crd["spec"]["versions"] if version["storage"]]
    stored = list(dict.fromkeys([*(status.get("storedVersions") or []), *storage]))
    new = {**status, "conditions": conditions, "acceptedNames": accepted, "storedVersions": stored}
    return {**crd, "status": new}


def with_terminating(crd: dict[str, Any], *, now: str) -> dict[str, Any]:
    """Return ``crd`` as its delete leaves it: held until its objects are gone."""
    given = crd["metadata"]
    finalizers = given.get("finalizers") or []
    if CLEANUP_FINALIZER not in finalizers:
        finalizers = [*finalizers, CLEANUP_FINALIZER]
    status = crd.get("status") or {}
    message = "the objects of this kind are being deleted"
    conditions = status.get("conditions") or []
    conditions = _with_condition(conditions, "Terminating", "True", "InstanceDeletionInProgress", message, now)
    return {
        **crd,
        "metadata": {**given, "finalizers": finalizers, "deletionTimestamp": now},
        "status": {**status, "conditions": conditions},
    }


def _taken(crd: dict[str, Any], others: Iterable[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """Return the resource names and the kinds that other CRDs of the group have."""
    names: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["spec"]["group"] == crd["spec"]["group"] and other["metadata"]["name"] != crd["metadata"]["name"]:
            accepted = (other.get("status") or {}).get("acceptedNames") or {}
            names |= {accepted.get("plural", ""), accepted.get("singular", ""), *(accepted.get("shortNames") or ())}
            kinds |= {accepted.get("kind", ""), accepted.get("listKind", "")}
    return names, kinds


def _accepted_names(
    wanted: dict[str, Any], had: dict[str, Any], taken: tuple[set[str], set[str]]
) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """Return the names that are accepted, and the reason and message of the last conflict, if there is one."""
    names, kinds = taken
    accepted: dict[str, Any] = {"plural": "", "kind": "", **had}
    problem: tuple[str, str] | None = None
    for key, used in (
        ("plural", names),
        ("singular", names),
        ("shortNames", names),
        ("kind", kinds),
        ("listKind", kinds),
    ):
        value = wanted.get(key)
        asked = value if isinstance(value, list) else [value]
        mine = had.get(key) or []
        refused = [name for name in asked if name and name in used and name != mine and name not in mine]
        if refused:
            reason = f"{key[0].upper()}{key[1:]}Conflict"
            problem = (reason, ", ".join(f'"{name}" is already in use' for name in refused))
        elif value:
            accepted[key] = value
        else:
            accepted.pop(key, None)
    accepted.pop("categories", None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, problem


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in status.get("conditions") or [] if one.get("type") == kind), {})


def _with_condition(
    conditions: Sequence[dict[str, Any]], kind: str, text: str, reason: str, message: str, now: str
) -> list[dict[str, Any]]:
    old = _condition({"conditions": conditions}, kind)
    since = old["lastTransitionTime"] if old.get("status") == text and "lastTransitionTime" in old else now
    new = {"type": kind, "status": text, "lastTransitionTime": since, "reason": reason, "message": message}
    if not old:
        return [*conditions, new]
    return [new if one is old else one for one in conditions]
