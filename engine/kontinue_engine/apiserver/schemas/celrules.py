"""Internal. The CEL rules of our CRDs, and immutability, each as a Python predicate under its exact text.

There is no CEL evaluator here: a rule that is not in the table makes its CRD refused with a message that names the
rule. The conformance suite compares the predicates with a real kube-apiserver. Walking an object to the places where
rules stand is done by ``kontinue_engine.apiserver.schemas.object_rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kontinue_engine.apiserver.values import json_identical

Predicate = Callable[[Any, Any], bool]

_UNSUPPORTED_SETTINGS: Final = ("messageExpression", "optionalOldSelf")


class UnknownRuleError(Exception):
    """A CRD carries a rule that this server cannot evaluate."""


class CelRule(msgspec.Struct, frozen=True):
    """One rule at one place of a schema.

    Attributes:
        is_transition: it reads ``oldSelf``, so it is skipped when there is no old value.
        field: relative path to name in the refusal, ``""`` or ``.function``.
        holds: predicate on (self, old self).
    """

    message: str
    reason: str
    field: str
    is_transition: bool
    holds: Predicate


def compile_rule(entry: dict[str, Any]) -> CelRule:
    """Look up one entry of ``x-kubernetes-validations``.

    Raises:
        UnknownRuleError: the rule or one of its settings is not supported.
    """
    text = str(entry.get("rule", "")).strip()
    predicate = RULES.get(text)
    if predicate is None:
        raise UnknownRuleError(
            f"this server evaluates only the CEL rules that it knows by their exact text, and not: {text}"
        )
    if setting := next((key for key in _UNSUPPORTED_SETTINGS if entry.get(key)), None):
        raise UnknownRuleError(f"{setting} is not supported by this server (rule: {text})")
    return CelRule(
        message=entry.get("message") or f"failed rule: {text}",
        reason=entry.get("reason") or "FieldValueInvalid",
        field=entry.get("fieldPath", ""),
        is_transition="oldSelf" in text,
        holds=predicate,
    )


def _immutable(field: str) -> tuple[str, Predicate]:
    def holds(new: Any, old: Any) -> bool:
        return (field in new) == (field in old) and json_identical(new.get(field), old.get(field))

    return (
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        holds,
    )


def _immutable_retry(field: str) -> tuple[str, Predicate]:
    def holds(new: Any, old: Any) -> bool:
        return json_identical(_retry(new).get(field), _retry(old).get(field))

    now, before = (f"has({side}.retry) && has({side}.retry.{field})" for side in ("self", "oldSelf"))
    return f"({now}) == ({before}) && (!({now}) || self.retry.{field} == oldSelf.retry.{field})", holds


def _retry(spec: dict[str, Any]) -> dict[str, Any]:
    retry = spec.get("retry")
    return retry if isinstance(retry, dict) else {}


def _stays_completed(new: Any, old: Any) -> bool:
    """A Suspension that is over stays so, unless its payload is refused."""
    if old.get("phase") != "Completed" or new.get("phase") == "Completed":
        return True
    conditions = new.get("conditions")
    return isinstance(conditions, list) and any(
        isinstance(one, dict) and (one.get("type"), one.get("status")) == ("PayloadInvalid", "True")
        for one in conditions
    )


def _has_quorum_within_expected(new: Any, old: Any) -> bool:
    """A Barrier can be opened by those that it expects."""
    del old
    quorum, expected = new.get("quorum"), new.get("expected")
    return not (isinstance(quorum, int) and isinstance(expected, int)) or quorum <= expected


_STATES: Final = {
    "Job": ["Complete", "Failed", "Active", "Pending"],
    "Semaphore": ["Available", "Acquired"],
    "Barrier": ["Open", "Closed", "Failed", "Pending"],
    "Lease": ["Available", "Acquired"],
    "Gate": ["Open", "Closed", "Failed", "Pending"],
    "Mutex": ["Locked", "Unlocked", "Acquired", "Available"],
    "Once": ["Complete", "Done", "Failed", "Active", "Pending"],
    "WaitGroup": ["Done", "Zero", "NonZero"],
}


def _asks_for_states_that_there_are(new: Any, old: Any) -> bool:
    """Each condition of a Gate can be met."""
    del old
    return all(one.get("state") in _STATES.get(str(one.get("type")), ()) for one in _conditions(new))


def _counts_permits_only(new: Any, old: Any) -> bool:
    """Only a Semaphore has something to be counted by a Gate."""
    del old
    return all("value" not in one or one.get("type") == "Semaphore" for one in _conditions(new))


def _conditions(spec: dict[str, Any]) -> list[dict[str, Any]]:
    conditions = spec.get("conditions")
    return [one for one in conditions if isinstance(one, dict)] if isinstance(conditions, list) else []


RULES: Final[dict[str, Predicate]] = {
    "!has(oldSelf.status) || has(self.status)": lambda new, old: "status" not in old or "status" in new,
    "!has(oldSelf.phase) || has(self.phase)": lambda new, old: "phase" not in old or "phase" in new,
    "self == oldSelf": json_identical,
    "self.__function__ == oldSelf.__function__": lambda new, old: json_identical(
        new.get("function"), old.get("function")
    ),
    "!(oldSelf in ['Completed', 'Skipped']) || self == oldSelf": lambda new, old: (
        old not in {"Completed", "Skipped"} or new == old
    ),
    "!(oldSelf in ['Failed', 'Canceled']) || self == oldSelf || self == 'Pending'": lambda new, old: (
        old not in {"Failed", "Canceled"} or new in {old, "Pending"}
    ),
    "!(has(oldSelf.phase) && oldSelf.phase == 'Completed') || (has(self.phase) && self.phase == 'Completed')"
    " || (has(self.conditions) && self.conditions.exists(c, c.type == 'PayloadInvalid' && c.status == 'True'))": (
        _stays_completed
    ),
    "!has(self.quorum) || self.quorum <= self.expected": _has_quorum_within_expected,
    f"self.conditions.all(c, c.state in {_STATES}[c.type])": _asks_for_states_that_there_are,
    "self.conditions.all(c, !has(c.value) || c.type == 'Semaphore')": _counts_permits_only,
    **dict(map(_immutable, ("arguments", "timeout", "ttl", "mutex"))),
    **dict(map(_immutable, ("execution", "kind", "displayName", "description", "payloadSchema"))),
    **dict(map(_immutable, ("semaphore", "holder", "boundTo", "noWait"))),
    **dict(map(_immutable_retry, ("backoff", "multiplier", "maxBackoff", "jitter", "nonRetryable"))),
}
"""Predicates by rule text. They may rely on the type of the value itself, not on the types of its fields."""
