from __future__ import annotations

import json

import pytest

from kontinue_engine.apiserver import resources, statuses
from kontinue_engine.apiserver.resources import ResourceInfo


def test_not_found_names_the_resource_with_its_group(execution_resource: ResourceInfo):
    """The body is what kubectl prints and client libraries parse."""
    error = statuses.not_found(execution_resource, "hello")
    assert json.loads(error.body()) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'executions.kontinue.cloud "hello" not found',
        "reason": "NotFound",
        "details": {"name": "hello", "group": "kontinue.cloud", "kind": "executions"},
        "code": 404,
    }


def test_core_resources_are_named_without_a_group():
    """The core group has no name, so neither have messages nor details."""
    error = statuses.already_exists(resources.CONFIG_MAPS, "settings")
    assert (error.code, error.message) == (409, 'configmaps "settings" already exists')
    assert error.details == {"name": "settings", "kind": "configmaps"}


def test_conflict_says_what_to_do_unless_told_otherwise():
    """A stale resourceVersion is the usual problem; a failed precondition names itself."""
    assert "please apply your changes to the latest version" in statuses.conflict(resources.LEASES, "a").message
    problem = statuses.conflict(resources.LEASES, "a", "uid differs").message
    assert problem == 'Operation cannot be fulfilled on leases.coordination.k8s.io "a": uid differs'


def test_invalid_lists_every_cause_and_names_the_kind(execution_resource: ResourceInfo):
    """One cause stands alone, several stand in brackets, and details carry kind and causes."""
    missing = statuses.cause("FieldValueRequired", "spec.function")
    negative = statuses.cause("FieldValueInvalid", "spec.retry.retries", value=-1, detail="must be at least 0")
    one = statuses.invalid(execution_resource, "x", [missing])
    assert one.message == 'Execution.kontinue.cloud "x" is invalid: spec.function: Required value'
    both = statuses.invalid(execution_resource, "x", [missing, negative])
    assert both.message.endswith(
        "[spec.function: Required value, spec.retry.retries: Invalid value: -1: must be at least 0]"
    )
    assert both.details is not None
    assert both.details["kind"] == "Execution"
    assert both.details["causes"][0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.function",
    }
    assert statuses.invalid(resources.CONFIG_MAPS, "x", [missing]).message.startswith('ConfigMap "x" is invalid')


def test_a_long_value_is_cut_in_a_cause():
    """A refusal names the value but does not repeat a document."""
    message = statuses.cause("FieldValueInvalid", "data", value="x" * 100_000).message
    assert len(message) < 500
    assert message.endswith("...")


def test_a_value_that_json_cannot_carry_is_shown_anyway():
    """YAML brings integers of any size; naming one must not fail."""
    assert str(10**30) in statuses.cause("FieldValueInvalid", "a", value=10**30).message


def test_a_cause_without_field_is_its_message():
    """Causes of the whole object have no path."""
    assert str(statuses.Cause("FieldValueInvalid", "bad", "")) == "bad"


def test_deleted_is_a_success_with_the_uid():
    """Clients use the uid to see that they deleted the object they meant."""
    body = statuses.deleted(resources.LEASES, "a", "u-1")
    assert body["status"] == "Success"
    assert body["details"] == {"name": "a", "group": "coordination.k8s.io", "kind": "leases", "uid": "u-1"}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (statuses.bad_request("no"), 400, "BadRequest"),
        (statuses.unauthorized(), 401, "Unauthorized"),
        (statuses.forbidden(resources.LEASES, "a", "namespace terminates"), 403, "Forbidden"),
        (statuses.method_not_allowed(), 405, "MethodNotAllowed"),
        (statuses.method_not_allowed(resources.LEASES), 405, "MethodNotAllowed"),
        (statuses.not_acceptable(["application/json"]), 406, "NotAcceptable"),
        (statuses.expired("too old resource version: 1 (2)"), 410, "Expired"),
        (statuses.too_large(), 413, "RequestEntityTooLarge"),
        (statuses.unsupported_media_type(statuses.CUSTOM_PATCH_TYPES), 415, "UnsupportedMediaType"),
        (statuses.unprocessable_patch("test failed"), 422, "Invalid"),
        (statuses.storage_failed("disk full"), 500, "InternalError"),
        (statuses.future_resource_version(9, 3), 504, "Timeout"),
    ],
)
def test_every_refusal_has_the_code_and_reason_of_kubernetes(error: statuses.StatusError, code: int, reason: str):
    """Clients decide by code and reason whether to retry."""
    status = error.status()
    assert (status["code"], status["reason"], status["status"]) == (code, reason, "Failure")


def test_forbidden_carries_causes():
    """A create in a terminating namespace is told apart by its cause."""
    causes = [statuses.Cause("NamespaceTerminating", "namespace a is being terminated", "metadata.namespace")]
    error = statuses.forbidden(resources.LEASES, "a", "namespace terminates", causes=causes)
    assert error.details is not None
    assert error.details["causes"][0]["reason"] == "NamespaceTerminating"


def test_unsupported_media_type_lists_what_is_accepted():
    """By this text kubectl falls back to another patch type."""
    message = statuses.unsupported_media_type(statuses.CUSTOM_PATCH_TYPES).message
    assert message.endswith("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
