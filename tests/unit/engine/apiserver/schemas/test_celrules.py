from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kontinue_engine.apiserver.schemas import celrules

CRDS = Path(__file__).resolve().parents[5] / "crds"
REFUSED = {"type": "PayloadInvalid", "status": "True"}


def rules_of(schema: Any) -> list[str]:
    """Every CEL rule anywhere in a schema."""
    if isinstance(schema, list):
        return [rule for item in schema for rule in rules_of(item)]
    if not isinstance(schema, dict):
        return []
    own = [entry["rule"] for entry in schema.get("x-kubernetes-validations", [])]
    return own + [rule for value in schema.values() for rule in rules_of(value)]


def test_the_table_holds_the_rules_of_our_crds_and_immutability():
    """A rule without predicate would make the CRD refused; a predicate without rule would be dead."""
    found = {rule for path in CRDS.glob("*.yaml") for rule in rules_of(yaml.safe_load(path.read_text()))}
    assert found | {"self == oldSelf"} == set(celrules.RULES)


def test_an_unknown_rule_is_named():
    """The error says what the server does not know."""
    with pytest.raises(celrules.UnknownRuleError, match=r"self\.size\(\) < 5"):
        celrules.compile_rule({"rule": "self.size() < 5"})


@pytest.mark.parametrize("setting", ["messageExpression", "optionalOldSelf"])
def test_an_unsupported_setting_is_named(setting: str):
    """A rule that would be judged differently is refused, not guessed."""
    with pytest.raises(celrules.UnknownRuleError, match=setting):
        celrules.compile_rule({"rule": next(iter(celrules.RULES)), setting: True})


def test_message_and_reason_have_defaults():
    """As in kube-apiserver."""
    rule = celrules.compile_rule({"rule": " !has(oldSelf.phase) || has(self.phase)\n"})
    assert rule.message == "failed rule: !has(oldSelf.phase) || has(self.phase)"
    assert (rule.reason, rule.field, rule.is_transition) == ("FieldValueInvalid", "", True)


def holds(start: str, new: Any, old: Any) -> bool:
    (predicate,) = [predicate for text, predicate in celrules.RULES.items() if text.startswith(start)]
    return predicate(new, old)


@pytest.mark.parametrize(
    ("start", "new", "old", "expected"),
    [
        ("!has(oldSelf.status)", {"status": {}}, {"status": {}}, True),
        ("!has(oldSelf.status)", {}, {"status": {}}, False),
        ("!has(oldSelf.status)", {}, {}, True),
        ("!(has(oldSelf.phase)", {"phase": "Completed"}, {"phase": "Completed"}, True),
        ("!(has(oldSelf.phase)", {"phase": "Completed"}, {}, True),
        ("!(has(oldSelf.phase)", {"phase": "Suspended"}, {"phase": "Completed"}, False),
        ("!(has(oldSelf.phase)", {"conditions": {}}, {"phase": "Completed"}, False),
        ("!(has(oldSelf.phase)", {"conditions": [{"type": "PayloadInvalid"}]}, {"phase": "Completed"}, False),
        ("!(has(oldSelf.phase)", {"conditions": [REFUSED]}, {"phase": "Completed"}, True),
        ("!has(oldSelf.phase)", {}, {"phase": "Failed"}, False),
        ("!has(oldSelf.phase)", {"phase": "Failed"}, {}, True),
        ("self.__function__", {"function": "a"}, {"function": "a"}, True),
        ("self.__function__", {"function": "a"}, {"function": "b"}, False),
        ("!(oldSelf in ['Completed'", "Completed", "Completed", True),
        ("!(oldSelf in ['Completed'", "Pending", "Skipped", False),
        ("!(oldSelf in ['Completed'", "Completed", "Executing", True),
        ("!(oldSelf in ['Failed'", "Pending", "Canceled", True),
        ("!(oldSelf in ['Failed'", "Failed", "Failed", True),
        ("!(oldSelf in ['Failed'", "Canceled", "Failed", False),
        ("!(oldSelf in ['Failed'", "Executing", "Pending", True),
        ("has(self.arguments)", {"arguments": {"a": 1}}, {"arguments": {"a": 1}}, True),
        ("has(self.arguments)", {"arguments": {"a": 1}}, {"arguments": {"a": True}}, False),
        ("has(self.arguments)", {"arguments": {}}, {}, False),
        ("has(self.arguments)", {}, {"arguments": {}}, False),
        ("has(self.arguments)", {}, {}, True),
        ("(has(self.retry) && has(self.retry.backoff))", {"retry": {"retries": 1}}, {}, True),
        ("(has(self.retry) && has(self.retry.backoff))", {"retry": {"backoff": "1s"}}, {}, False),
        ("(has(self.retry) && has(self.retry.backoff))", {}, {"retry": {"backoff": "1s"}}, False),
        ("(has(self.retry) && has(self.retry.backoff))", *[{"retry": {"backoff": "1s"}}] * 2, True),
    ],
)
def test_predicates_say_what_the_rule_says(start: str, new: Any, old: Any, *, expected: bool):
    """Present, absent and changed, for every form of rule."""
    assert holds(start, new, old) is expected
