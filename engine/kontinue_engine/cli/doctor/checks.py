"""Internal. All checks of ``kontinue doctor``, in the order in which they are printed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kontinue_engine.cli.doctor import group_checks, object_checks, pods, primitives, server_checks, wait_groups
from kontinue_engine.cli.doctor.findings import Finding, folded
from kontinue_engine.cli.doctor.observed import Observed

CHECKS: Final[tuple[Callable[[Observed], Iterator[Finding]], ...]] = (
    server_checks.check_server,
    server_checks.check_clock,
    server_checks.check_rights,
    server_checks.check_kinds,
    server_checks.check_reading,
    pods.check_pods,
    group_checks.check_groups,
    group_checks.check_functions,
    group_checks.check_schedules,
    group_checks.check_mutexes,
    object_checks.check_executions,
    object_checks.check_suspensions,
    object_checks.check_archives,
    wait_groups.check_waitgroups,
    primitives.check_primitives,
)


def judge(seen: Observed) -> list[Finding]:
    """Return everything that there is to say."""
    return list(folded(finding for check in CHECKS for finding in check(seen)))
