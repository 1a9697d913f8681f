"""Internal. Who may do what in a namespace: the roles worker, client and operator, as rules of Kubernetes RBAC. Pure.

The worker's are those of the chart's Role, which a test compares; the namespace is the border of trust, because RBAC
knows no labels. ``kontinue install`` creates the roles, ``kontinue doctor`` asks the server for each right.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from kontinue.api import labels

_RBAC: Final = "rbac.authorization.k8s.io"
_FLOW_CONTROL: Final = "flowcontrol.apiserver.k8s.io"
WORKER_ACCOUNT: Final = "kontinue-worker"
"""ServiceAccount that ``install`` creates and the pods of ``manifest`` use."""


class Role(enum.StrEnum):
    """Whose rights."""

    WORKER = "worker"
    CLIENT = "client"
    OPERATOR = "operator"

    @property
    def object_name(self) -> str:
        """Name of the Role object."""
        return f"kontinue-{self}"


class Rule(msgspec.Struct, frozen=True):
    """Verbs on resources of one API group, as in a Role."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]


class Right(msgspec.Struct, frozen=True, order=True):
    """One verb on one resource; ``resource`` with its subresource, as ``executions/status``."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


_READ: Final = ("get", "list", "watch")

_WORKER: Final = (
    # Registers the App's functions; the leader deletes those that the App no longer has.
    Rule(labels.GROUP, ("functions",), (*_READ, "create", "update", "delete")),
    # Follows Executions, creates children, changes labels; deletes what a dead parent of the same name has left.
    Rule(labels.GROUP, ("executions",), (*_READ, "create", "patch", "delete")),
    Rule(labels.GROUP, ("executions/status",), ("update", "patch")),
    # Long histories.
    Rule(labels.GROUP, ("memopages",), ("list", "create", "delete")),
    # Long sleeps, and waits for somebody.
    Rule(labels.GROUP, ("suspensions",), (*_READ, "create", "delete")),
    Rule(labels.GROUP, ("suspensions/status",), ("update",)),
    # Steps that run as Jobs and Pods.
    Rule("batch", ("jobs",), (*_READ, "create", "delete")),
    Rule("", ("pods",), (*_READ, "create", "delete")),
    # The leader starts what is due, archives and deletes what has ended.
    Rule(labels.GROUP, ("scheduledexecutions",), ("list", "watch")),
    Rule(labels.GROUP, ("scheduledexecutions/status",), ("update",)),
    Rule(labels.GROUP, ("archivedexecutions",), ("list", "watch", "create", "delete")),
    # Its shard, leadership, mutexes.
    Rule("coordination.k8s.io", ("leases",), (*_READ, "create", "update", "delete")),
    Rule("", ("events",), ("create", "patch")),
)

_CLIENT: Final = (
    Rule(
        labels.GROUP,
        ("functions", "executions", "suspensions", "scheduledexecutions", "archivedexecutions", "memopages"),
        _READ,
    ),
    Rule(labels.GROUP, ("executions",), ("create",)),
    # Trees and logs show the Jobs and Pods that functions run.
    Rule("batch", ("jobs",), _READ),
    Rule("", ("pods",), _READ),
    Rule("", ("pods/log",), ("get",)),
    # Who runs what, and what happened.
    Rule("coordination.k8s.io", ("leases",), _READ),
    Rule("", ("events",), ("list",)),
)

_OPERATOR: Final = (
    *_CLIENT,
    # Cancel, skip and resume.
    Rule(labels.GROUP, ("executions/status", "suspensions/status"), ("patch",)),
    # Retry, which raises a number in the spec; suspend and resume schedules.
    Rule(labels.GROUP, ("executions", "scheduledexecutions"), ("patch",)),
)

RULES: Final[dict[Role, tuple[Rule, ...]]] = {Role.WORKER: _WORKER, Role.CLIENT: _CLIENT, Role.OPERATOR: _OPERATOR}


def rights(rules: Sequence[Rule]) -> Iterator[Right]:
    """Yield what ``rules`` allow, one by one."""
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                yield Right(rule.group, resource, verb)


def role_objects(role: Role, namespace: str, labels_: dict[str, str]) -> list[dict[str, Any]]:
    """Return the Role; for workers also the ServiceAccount that has it."""
    metadata = {"name": role.object_name, "namespace": namespace, "labels": labels_}
    rules = [
        {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs)}
        for rule in RULES[role]
    ]
    found = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    if role is not Role.WORKER:
        return [found]
    account = {**metadata, "name": WORKER_ACCOUNT}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        found,
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": account,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role.object_name},
            "subjects": [{"kind": "ServiceAccount", "name": WORKER_ACCOUNT, "namespace": namespace}],
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
