from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.schemas import schema
from kontinue_engine.apiserver.schemas.schema import CompiledSchema, SchemaError
from kontinue_engine.apiserver.statuses import StatusError

UNCHECKED = schema.UNCHECKED
"""What is said beside the rest: that CEL rules were not asked."""


def execution(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": "hello"},
        "spec": {"function": "hello", "arguments": {"name": "Ada"}, **spec},
    }


def with_status(**status: Any) -> dict[str, Any]:
    return {**execution(), "status": status}


def refusals(schema: CompiledSchema, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return sorted(str(cause) for cause in schema.validate(obj, old) if cause != UNCHECKED)


def of(**properties: Any) -> CompiledSchema:
    return CompiledSchema({"type": "object", "properties": {"f": properties}})


def test_a_good_execution_is_accepted(execution_schema: CompiledSchema):
    """Fresh, running and ended."""
    assert execution_schema.validate(execution()) == []
    status = {
        "phase": "Completed",
        "result": None,
        "state": {"records": [{"any": {"thing": 1}}]},
        "startedAt": "2026-11-20T04:11:19.445316+00:00",
        "attempts": [{"number": 1, "phase": "Completed"}],
        "conditions": [{"type": "Stopped", "status": "True"}],
    }
    assert execution_schema.validate(with_status(**status), with_status(phase="Executing")) == []


@pytest.mark.parametrize(
    ("obj", "refusal"),
    [
        ({"metadata": {"name": "a"}}, "spec: Required value"),
        ({"spec": {}}, "spec.function: Required value"),
        (
            execution(function=1),
            'spec.function: Invalid value: "integer": spec.function in body must be of type string: "integer"',
        ),
        (
            execution(function=""),
            'spec.function: Invalid value: "": spec.function in body should be at least 1 chars long',
        ),
        (execution(function="x" * 254), "spec.function: Too long: may not be more than 253 bytes"),
        (
            execution(arguments=[1]),
            'spec.arguments: Invalid value: "array": spec.arguments in body must be of type object: "array"',
        ),
        (
            execution(retry={"retries": -1}),
            "spec.retry.retries: Invalid value: -1: spec.retry.retries in body should be greater than or equal to 0",
        ),
        (
            execution(retry={"childPolicy": "All"}),
            'spec.retry.childPolicy: Unsupported value: "All": supported values: "None", "RetryFailed", "RetryAll"',
        ),
        (
            execution(timeout={"attempt": "5 min"}),
            (
                'spec.timeout.attempt: Invalid value: "5 min": spec.timeout.attempt in body should match '
                r"'^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$'"
            ),
        ),
        (execution(mutex={}), "spec.mutex.name: Required value"),
        (with_status(attempts=[{"number": 1}] * 11), "status.attempts: Too many: 11: must have at most 10 items"),
        (
            with_status(startedAt="yesterday"),
            (
                'status.startedAt: Invalid value: "yesterday": '
                'status.startedAt in body must be of type date-time: "yesterday"'
            ),
        ),
        (with_status(conditions=[{"type": "A"}]), "status.conditions[0].status: Required value"),
        (
            with_status(conditions=[{"type": "A", "status": "True"}] * 2),
            'status.conditions[1]: Duplicate value: {"type":"A"}',
        ),
    ],
)
def test_a_malformed_execution_is_refused_in_kubernetes_words(
    execution_schema: CompiledSchema, obj: dict[str, Any], refusal: str
):
    """The wording was compared with kube-apiserver's own validation for each of these."""
    assert refusals(execution_schema, obj) == [refusal]


def test_every_mistake_is_reported_at_once(execution_schema: CompiledSchema):
    """A user should not have to apply five times to find five mistakes."""
    obj = execution(function=1, arguments=1, retry={"retries": "many"})
    assert {cause.field for cause in execution_schema.validate(obj) if cause != UNCHECKED} == {
        "spec.function",
        "spec.arguments",
        "spec.retry.retries",
    }


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        (execution(), execution(function="other"), "spec.function: Invalid value: function is immutable"),
        (execution(), execution(arguments={}), "spec.arguments: Invalid value: arguments is immutable"),
        (execution(), execution(mutex={"name": "m"}), "spec.mutex: Invalid value: mutex is immutable"),
        (
            execution(),
            execution(retry={"retries": 1, "backoff": "1s"}),
            "spec: Invalid value: retry.backoff is immutable; retry.retries and retry.childPolicy may change",
        ),
        (
            with_status(phase="Completed"),
            with_status(phase="Canceled"),
            'status.phase: Invalid value: "Canceled": Completed and Skipped are final',
        ),
        (
            with_status(phase="Failed"),
            with_status(phase="Executing"),
            'status.phase: Invalid value: "Executing": Failed and Canceled change only to Pending, by a retry',
        ),
        (with_status(phase="Failed"), with_status(), "status: Invalid value: phase cannot be removed"),
        (with_status(phase="Failed"), execution(), "<nil>: Invalid value: status cannot be removed"),
    ],
)
def test_forbidden_changes_are_refused(
    execution_schema: CompiledSchema, old: dict[str, Any], new: dict[str, Any], refusal: str
):
    """They hold for kubectl as for the engine."""
    assert refusals(execution_schema, new, old) == [refusal]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (execution(), execution(retry={"retries": 3, "childPolicy": "RetryAll"})),
        (execution(retry={"retries": 3, "backoff": "1s"}), execution(retry={"retries": 4, "backoff": "1s"})),
        (with_status(phase="Failed"), with_status(phase="Pending")),
        (with_status(phase="Pending"), with_status(phase="Completed")),
        (execution(), with_status(phase="Canceled")),
    ],
)
def test_allowed_changes_pass(execution_schema: CompiledSchema, old: dict[str, Any], new: dict[str, Any]):
    """A retry, a short life, and a cancel before anything ran."""
    assert refusals(execution_schema, new, old) == []


def test_what_was_wrong_before_is_tolerated_until_it_changes(execution_schema: CompiledSchema):
    """A stricter CRD must not freeze stored objects."""
    old = execution(retry={"backoff": "soon"}, mutex=[])
    assert refusals(execution_schema, {**copy.deepcopy(old), "status": {"phase": "Failed"}}, old) == []
    changed = execution(retry={"backoff": "later"}, mutex=[])
    assert [cause.field for cause in execution_schema.validate(changed, old)] == ["spec.retry.backoff", "spec"]
    assert execution_schema.validate(old, old) == []
    attempts = with_status(attempts=[{"number": 0}])
    assert execution_schema.validate(with_status(attempts=[{"number": 0}, {"number": 1}]), attempts)


def test_unknown_fields_are_pruned_and_named(execution_schema: CompiledSchema):
    """Free-form parts are left alone."""
    obj = {**execution(arguments={"any": {"thing": None}}, retires=3), "sttaus": {}}
    assert sorted(execution_schema.prune(obj)) == ["spec.retires", "sttaus"]
    assert obj == execution(arguments={"any": {"thing": None}})


@pytest.mark.parametrize("levels", [300, 900])
def test_deep_values_where_text_belongs_are_refused(execution_schema: CompiledSchema, levels: int):
    """The library that judges gives up on them with an error of its own."""
    deep: Any = "x"
    for _ in range(levels):
        deep = {"a": deep}
    obj = execution()
    obj["spec"]["function"] = deep
    with pytest.raises(StatusError, match="nested too deeply"):
        execution_schema.validate(obj)


def test_defaults_are_filled_in(execution_schema: CompiledSchema):
    """Where a schema has some; our own kinds have none."""
    obj = execution()
    execution_schema.default(obj)
    assert obj == execution()
    other: dict[str, Any] = {}
    of(type="string", default="x").default(other)
    assert other == {"f": "x"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["function", "phase", "x"]), inner),
    max_leaves=8,
)


@given(json_values, json_values, json_values)
def test_no_object_breaks_validation(execution_schema: CompiledSchema, spec: Any, status: Any, old_status: Any):
    """Whatever a client sends or the store holds, the answer is a list of causes."""
    obj = {**execution(), "spec": spec, "status": status}
    old = {**execution(), "spec": copy.deepcopy(spec), "status": old_status}
    execution_schema.prune(obj)
    execution_schema.default(obj)
    execution_schema.validate(obj)
    execution_schema.validate(obj, old)
    assert execution_schema.validate(obj, copy.deepcopy(obj)) == []


@pytest.mark.parametrize(
    ("node", "good", "bad", "complaint"),
    [
        ({"type": "string", "nullable": True, "enum": ["a"]}, ["a"], None, "Unsupported value: null"),
        ({"type": "string", "nullable": True}, [None, "a"], 1, 'must be of type string: "integer"'),
        ({"x-kubernetes-int-or-string": True}, [1, "50%"], [], "must be of type integer,string"),
        ({"type": "integer", "format": "int64"}, [1, 1.0], 1.5, "must be of type integer"),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, [1.1], 1, "should be greater than 1"),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": True}, [0.9], 1, "should be less than 1"),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, [1], 2, "should be less than or equal to 1"),
        ({"type": "integer", "multipleOf": 2}, [4], 3, "should be a multiple of 2"),
        ({"type": "array", "items": {}, "minItems": 1}, [[1]], [], "should have at least 1 items"),
        ({"type": "object", "maxProperties": 1}, [{}], {"a": 1, "b": 2}, "Too many: 2: must have at most 1 items"),
        ({"type": "object", "minProperties": 1}, [{"a": 1}], {}, "should have at least 1 properties"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, [{"a": "b"}], {"a": 1}, "f.a in body"),
        ({"type": "string", "format": "byte"}, ["YQ=="], "?", "must be of type byte"),
        ({"type": "string", "format": "duration"}, ["1h30m", "0", "P1D"], "5", "must be of type duration"),
        ({"type": "string", "format": "ipv4"}, ["127.0.0.1"], "127.0.0", "must be of type ipv4"),
        ({"type": "string", "format": "anything-else"}, ["x"], 1, "must be of type string"),
        ({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]}, [0, 6], 3, "at least one schema (anyOf)"),
        ({"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 9}]}, [0, 10], 6, "one and only one schema (oneOf)"),
        ({"type": "integer", "allOf": [{"minimum": 5}]}, [5], 4, "should be greater than or equal to 5"),
        ({"type": "integer", "not": {"minimum": 5}}, [4], 5, "must not validate the schema (not)"),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            [{"apiVersion": "v1", "kind": "K"}],
            {"apiVersion": "v1"},
            "f.kind: Required value",
        ),
    ],
)
def test_the_keywords_of_crd_schemas(node: dict[str, Any], good: list[Any], bad: Any, complaint: str):
    """Each keyword accepts, refuses and explains."""
    compiled = of(**node)
    for value in good:
        assert compiled.validate({"f": value}) == []
    assert complaint in " ".join(refusals(compiled, {"f": bad}))


def test_not_more_mistakes_are_told_than_somebody_reads():
    """A long list of wrong items has a short answer; a wrong one behind many that were wrong before is still found."""
    judge = of(type="array", items={"type": "string"})
    numbers = list(range(schema.MAX_ERRORS + 10))
    assert len(judge.validate({"f": numbers})) == schema.MAX_ERRORS
    listed = CompiledSchema({"type": "object", "additionalProperties": {"type": "string"}})
    old = {f"k{number:06}": number for number in numbers}
    assert refusals(listed, {**old, "z": 1}, old) == [
        'z: Invalid value: "integer": z in body must be of type string: "integer"'
    ]


@pytest.mark.parametrize("text", ["(", "a{99999999999}", r"(a)\1", "(?=a)b", "(?P<x>a)(?P=x)", "a**"])
def test_what_re2_does_not_have_is_no_pattern(text: str):
    """Whatever Python's own expressions can do; and none of them is an error of the server."""
    assert not schema.is_pattern(text)


def test_an_unknown_cel_rule_is_refused_when_compiled():
    """With the text of the rule, so that its author knows what this server cannot do."""
    with pytest.raises(SchemaError, match=r"self\.startsWith"):
        of(type="string", **{"x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]})


def test_a_malformed_schema_is_refused_when_compiled():
    """A pattern that does not compile, for example; look-around is none that Kubernetes knows."""
    with pytest.raises(SchemaError):
        of(type="string", pattern="(")
    with pytest.raises(SchemaError):
        of(type="string", pattern="(?=a)")
