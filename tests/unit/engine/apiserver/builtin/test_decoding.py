from __future__ import annotations

from typing import Any

import pytest

from kontinue_engine.apiserver.builtin import kinds, types
from kontinue_engine.apiserver.builtin.decoding import Decoder
from kontinue_engine.apiserver.statuses import StatusError


def decoded(struct: str, document: dict[str, Any]) -> dict[str, Any]:
    return Decoder("Kind", "v1").struct(struct, document)


def test_every_kind_has_a_type() -> None:
    """CustomResourceDefinitions aside, which are judged elsewhere."""
    for info in kinds.BUILT_IN:
        assert types.struct_of(info.group, info.version, info.kind) or info.kind == "CustomResourceDefinition"


@pytest.mark.parametrize(
    ("struct", "given", "expected"),
    [
        ("core/v1.EnvVar", {"name": "", "value": ""}, {"name": ""}),
        ("core/v1.Volume", {"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}),
        ("core/v1.ServicePort", {"port": 1, "targetPort": "x"}, {"port": 1, "targetPort": "x"}),
        ("batch/v1.JobStatus", {"active": 0, "ready": 0}, {"ready": 0}),
        ("core/v1.ResourceRequirements", {"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}),
        ("core/v1.Secret", {"data": {"a": "Yg=="}}, {"data": {"a": "Yg=="}, "metadata": {}}),
        ("rbac/v1.Role", {}, {"metadata": {}, "rules": None}),
    ],
)
def test_go_writes_back_what_means_something(struct: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Zero values go unless they stand behind a pointer or their field is always written."""
    assert decoded(struct, given) == expected


def test_unknown_fields_are_dropped_and_named() -> None:
    """With their place, at any depth."""
    decoder = Decoder("Pod", "v1")
    pod = decoder.struct("core/v1.Pod", {"apiVersion": "v1", "x": 1, "spec": {"containers": [{"name": "a", "y": {}}]}})
    assert decoder.unknown == ["x", "spec.containers[0].y"]
    assert "y" not in pod["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("given", "is_patched", "code"),
    [({"spec": {"leaseDurationSeconds": True}}, False, 400), ({"spec": "text"}, True, 422)],
)
def test_a_wrong_type_is_the_bodys_or_the_patchs_fault(given: dict[str, Any], is_patched: bool, code: int) -> None:
    """400 for a body, 422 for a patch, as in kube-apiserver."""
    with pytest.raises(StatusError, match="cannot unmarshal") as caught:
        Decoder("Lease", "v1", is_patched=is_patched).struct("coordination/v1.Lease", given)
    assert caught.value.code == code
