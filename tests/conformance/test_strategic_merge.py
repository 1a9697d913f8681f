"""Strategic merge patches of built-in kinds: what kubectl apply, edit, label, set and rollout send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api import STRATEGIC_PATCH, Api

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "strategic_patches.json").read_text())
"""Patches of the Deployment below and what kube-apiserver 1.36.3 made of its ``metadata``, ``spec`` or ``pod``.

A patch that cannot be applied is refused by kube-apiserver with 500 where the local server answers 400.
"""
_DEFAULTED = ("resources", "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy")


def deployment() -> dict[str, Any]:
    """Return a Deployment that has something in every kind of list."""
    env = [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]
    pod = {
        "containers": [
            {"name": "a", "image": "a", "args": ["1"], "env": env, "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "b"},
            {"name": "c", "image": "c"},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "w"}}],
        "tolerations": [{"key": "t"}],
        "imagePullSecrets": [{"name": "p"}],
    }
    return {
        "metadata": {
            "name": "d",
            "labels": {"a": "1", "b": "2"},
            "finalizers": ["example.com/x", "example.com/y"],
        },
        "spec": {
            "replicas": 0,
            "paused": True,
            "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"rollingUpdate": {"maxSurge": 5}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod},
        },
    }


def part(name: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Return what a case looks at, without what is defaulted in containers."""
    if name != "pod":
        return obj[name]
    pod = obj["spec"]["template"]["spec"]
    for container in pod["containers"]:
        for key in _DEFAULTED:
            container.pop(key, None)
    return pod


@pytest.mark.parametrize("case", CASES, ids=[json.dumps(case["patch"])[:80] for case in CASES])
async def test_a_patch_merges_as_types_say(api: Api, case: dict[str, Any]) -> None:
    """Lists by their keys and in the right order, directives obeyed; what is wrong is refused and changes nothing."""
    collection, path = api.path("apps/v1/deployments"), api.path("apps/v1/deployments", "d")
    status, created = await api.send("POST", collection, deployment())
    assert status == 201, created
    status, patched = await api.send("PATCH", path, case["patch"], content_type=STRATEGIC_PATCH)
    if "refused" in case:
        assert status in case["refused"], patched
        _, current = await api.send("GET", path)
        assert current["metadata"]["generation"] == 1
    else:
        assert status == 200, patched
        for name, wanted in case["result"].items():
            found = part(name, patched)
            assert {key: found.get(key) for key in wanted} == wanted
    release = {"metadata": {"finalizers": None}}
    await api.send("PATCH", path, release, content_type=STRATEGIC_PATCH)


async def test_a_label_of_a_definition_is_patched_as_well(api: Api) -> None:
    """It is what ``kubectl label`` sends for every built-in kind, CustomResourceDefinitions among them."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/executions.kontinue.cloud?dryRun=All"
    patch = {"metadata": {"labels": {"example.com/team": "a"}}}
    status, patched = await api.send("PATCH", path, patch, content_type=STRATEGIC_PATCH)
    assert (status, patched["metadata"]["labels"]["example.com/team"]) == (200, "a")
