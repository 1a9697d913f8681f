"""Who may do what in a namespace: roles for workers, clients and others, as rules of Kubernetes RBAC. Pure data.

The namespace is the border of trust, because RBAC knows no labels. ``kontinue install`` creates the roles,
``kontinue doctor`` asks the server for each right, and an error of a client names the roles that grant what it lacked.
The worker's and the coordinator's are those of their charts' Roles, which tests compare.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.konductor import group


class Role(enum.StrEnum):
    """Whose rights."""

    WORKER = "worker"
    CLIENT = "client"
    OPERATOR = "operator"
    COORDINATOR = "coordinator"

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
    # Functions count, lock and wait.
    Rule(group.GROUP, ("waitgroups", "mutexes", "onces", "rwmutexes"), _READ),
    Rule(group.GROUP, ("waitgroups/status", "mutexes/status", "onces/status", "rwmutexes/status"), ("update",)),
    Rule(group.GROUP, ("semaphores",), ("get",)),
    Rule(group.GROUP, ("permits",), (*_READ, "create", "delete")),
    Rule(group.GROUP, ("barriers",), _READ),
    Rule(group.GROUP, ("arrivals",), ("get", "create", "delete")),
    Rule(group.GROUP, ("gates",), ("list", "watch")),
    Rule(group.GROUP, ("leases",), ("get",)),
    Rule(group.GROUP, ("leaserequests",), (*_READ, "create", "delete")),
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
    # Counts and waits. Holders are Pods and Executions, which it reads anyway.
    Rule(group.GROUP, ("waitgroups", "mutexes", "onces", "rwmutexes"), (*_READ, "create", "delete")),
    Rule(group.GROUP, ("waitgroups/status", "mutexes/status", "onces/status", "rwmutexes/status"), ("update",)),
    # Asks for permits, which a coordinator grants, and renews them. Who waits is shown how many do.
    Rule(group.GROUP, ("semaphores",), (*_READ, "create", "delete")),
    Rule(group.GROUP, ("permits",), (*_READ, "create", "patch", "delete")),
    # Arrives, and waits. What somebody has left at an earlier Barrier of the same name is deleted.
    Rule(group.GROUP, ("barriers",), (*_READ, "create", "delete")),
    Rule(group.GROUP, ("arrivals",), ("get", "create", "delete")),
    # Asks for Leases, which a coordinator grants; renews and releases what it holds.
    Rule(group.GROUP, ("leases",), (*_READ, "create", "delete")),
    Rule(group.GROUP, ("leaserequests",), ("list", "watch", "create", "delete")),
    Rule(group.GROUP, ("leases/status",), ("update",)),
    # Waits for Gates, opens and closes them by hand.
    Rule(group.GROUP, ("gates",), (*_READ, "create", "patch", "delete")),
)

_OPERATOR: Final = (
    *_CLIENT,
    # Cancel, skip and resume.
    Rule(labels.GROUP, ("executions/status", "suspensions/status"), ("patch",)),
    # Retry, which raises a number in the spec; suspend and resume schedules.
    Rule(labels.GROUP, ("executions", "scheduledexecutions"), ("patch",)),
)

_COORDINATOR: Final = (
    # Which of several works.
    Rule("coordination.k8s.io", ("leases",), (*_READ, "create", "update")),
    # Deletes what has been done for its ttl, takes off what belonged to holders that are gone.
    Rule(group.GROUP, ("waitgroups", "onces"), ("list", "watch", "delete")),
    Rule(group.GROUP, ("mutexes", "rwmutexes"), ("list", "watch")),
    Rule(group.GROUP, ("waitgroups/status", "mutexes/status", "onces/status", "rwmutexes/status"), ("update",)),
    # Grants permits, deletes those of holders that are gone.
    Rule(group.GROUP, ("semaphores",), ("list", "watch")),
    Rule(group.GROUP, ("permits",), (*_READ, "delete")),
    Rule(group.GROUP, ("semaphores/status", "permits/status"), ("update",)),
    # Counts Arrivals, deletes those at a Barrier that is gone.
    Rule(group.GROUP, ("barriers",), ("list", "watch")),
    Rule(group.GROUP, ("arrivals",), ("list", "watch", "delete")),
    Rule(group.GROUP, ("barriers/status", "arrivals/status"), ("update",)),
    # Grants Leases, ends those that are not renewed, deletes the requests of holders that are gone.
    Rule(group.GROUP, ("leases",), ("list", "watch")),
    Rule(group.GROUP, ("leaserequests",), (*_READ, "delete")),
    Rule(group.GROUP, ("leases/status", "leaserequests/status"), ("update",)),
    # Opens Gates, whose conditions may be about Jobs and about all the others.
    Rule(group.GROUP, ("gates",), ("list", "watch")),
    Rule(group.GROUP, ("gates/status",), ("update",)),
    Rule("batch", ("jobs",), ("list", "watch")),
    # Whether those that hold a part of a counter, or a permit, still live.
    Rule("", ("pods",), _READ),
    Rule(labels.GROUP, ("executions",), _READ),
    Rule("", ("events",), ("create", "patch")),
)

RULES: Final[dict[Role, tuple[Rule, ...]]] = {
    Role.WORKER: _WORKER,
    Role.CLIENT: _CLIENT,
    Role.OPERATOR: _OPERATOR,
    Role.COORDINATOR: _COORDINATOR,
}
INSTALLED: Final = (Role.WORKER, Role.CLIENT, Role.OPERATOR)
"""What a namespace gets that nobody has named roles for. A coordinator is not needed in each."""


def rights(rules: Sequence[Rule]) -> Iterator[Right]:
    """Yield what ``rules`` allow, one by one."""
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                yield Right(rule.group, resource, verb)


def rules_of(role: Role, api_groups: Sequence[str] = (group.GROUP,)) -> tuple[Rule, ...]:
    """Return the rules of a role where the primitives are served in ``api_groups``."""
    return tuple(
        msgspec.structs.replace(rule, group=name)
        for rule in RULES[role]
        for name in (api_groups if rule.group == group.GROUP else (rule.group,))
    )


def roles_with(right: Right) -> list[Role]:
    """Return the roles that have a right, of those that every namespace gets, on primitives in whichever group."""
    return [role for role in INSTALLED if right in rights(rules_of(role, group.GROUPS))]
