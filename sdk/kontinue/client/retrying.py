"""When a client may ask for a retry, and what it warns of. Called by ``Client.retry_execution``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from kontinue.api.v1alpha1 import RETRYABLE_PHASES, ChildPolicy, Execution, Phase
from kontinue.client.waiting import Target
from kontinue.errors import InvalidState

_SHOWN: Final = 3
"""Children named in a warning; judgement."""

_log = logging.getLogger(__name__)


def must_be_canceled(execution: Execution, policy: ChildPolicy) -> bool:
    """Tell whether an Execution has not ended, but cannot go on either, and is to be run anew: it is Blocked."""
    return execution.phase is Phase.BLOCKED and policy is ChildPolicy.RETRY_ALL


def check_retry(execution: Execution, parent: Execution | None, policy: ChildPolicy) -> None:
    """Refuse a retry that nobody would carry out; ``parent`` is None if it has none, or that is gone.

    Raises:
        InvalidState: it has not ended so, a retry was asked for, or its parent has not ended.
    """
    where = f"Execution {execution.metadata.namespace}/{execution.metadata.name}"
    if execution.phase not in RETRYABLE_PHASES and not must_be_canceled(execution, policy):
        remedy = ""
        if execution.phase is Phase.BLOCKED:
            remedy = (
                ". Its records would block it again: child policy RetryAll runs everything anew; or cancel it first "
                "(`kontinue retry NAME --children all`; `kontinue cancel NAME`)"
            )
        raise InvalidState(f"{where} cannot be retried: it is {execution.phase}, not Failed or Canceled{remedy}")
    if execution.is_retry_requested:
        raise InvalidState(f"{where}: a retry was asked for already, and has not begun yet")
    if parent is not None and not parent.phase.is_terminal:
        raise InvalidState(
            f"{where} cannot be retried: its parent {parent.metadata.name} is {parent.phase} and decides about its "
            "children itself. Cancel the parent and retry that, or wait for its end"
        )


def warn_of_failed(target: Target, children: Sequence[Execution]) -> None:
    """Warn of children that are taken as they ended, though they failed."""
    failed = [child.metadata.name for child in children if child.phase in RETRYABLE_PHASES]
    if failed:
        more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        _log.warning(
            "Execution %s is retried with its children as they ended, and fails again where it asks for %s%s: "
            "child policy RetryFailed retries them (`--children failed`)",
            target,
            ", ".join(failed[:_SHOWN]),
            more,
        )
