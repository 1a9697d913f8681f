"""Internal. The objects that give somebody the rights of a role: Role, ServiceAccount, RoleBinding, FlowSchema. Pure.

The rights themselves are ``kontinue.api.rights``. ``kontinue install`` creates what this makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kontinue.api.konductor import group
from kontinue.api.rights import Role, rules_of

_RBAC: Final = "rbac.authorization.k8s.io"
_FLOW_CONTROL: Final = "flowcontrol.apiserver.k8s.io"
WORKER_ACCOUNT: Final = "kontinue-worker"
"""ServiceAccount that ``install`` creates and the pods of ``manifest`` use."""
COORDINATOR_ACCOUNT: Final = "kontinue-coordinator"
"""The same for a coordinator, if its role is asked for."""
_ACCOUNTS: Final = {Role.WORKER: WORKER_ACCOUNT, Role.COORDINATOR: COORDINATOR_ACCOUNT}
"""Roles of processes of ours; people and services are bound to the others by who knows them."""


def role_objects(
    role: Role, namespace: str, labels_: dict[str, str], api_groups: Sequence[str] = (group.GROUP,)
) -> list[dict[str, Any]]:
    """Return the Role; for workers and coordinators also the ServiceAccount that has it.

    Args:
        role: whose rights.
        namespace: where.
        labels_: of each object.
        api_groups: in which primitives are served.
    """
    metadata = {"name": role.object_name, "namespace": namespace, "labels": labels_}
    rules = [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)}
        for rule in rules_of(role, api_groups)
    ]
    found = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    name = _ACCOUNTS.get(role)
    if name is None:
        return [found]
    account = {**metadata, "name": name}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        found,
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": account,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role.object_name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def flow_schema(namespace: str, labels_: dict[str, str]) -> dict[str, Any]:
    """Return the flow that the renewals of workers' Leases have for themselves: docs/deploying.md says why."""
    account = {"name": WORKER_ACCOUNT, "namespace": namespace}
    return {
        "apiVersion": f"{_FLOW_CONTROL}/v1",
        "kind": "FlowSchema",
        "metadata": {"name": f"{namespace}.{WORKER_ACCOUNT}", "labels": labels_},
        "spec": {
            "priorityLevelConfiguration": {"name": "leader-election"},
            "matchingPrecedence": 200,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [
                {
                    "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
                    "resourceRules": [
                        {
                            "apiGroups": ["coordination.k8s.io"],
                            "resources": ["leases"],
                            "verbs": ["get", "create", "update"],
                            "namespaces": [namespace],
                        }
                    ],
                }
            ],
        },
    }
