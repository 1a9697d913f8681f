"""Internal. Names for completion: asked of the server that the line so far means, quickly or not at all.

Called by ``kontinue_engine.cli.options``, only while a line is completed. Whatever goes wrong gives no candidates: an
error has no place on a line that somebody types.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
import typer

from kontinue import archives
from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import (
    LIVE_PHASES_SELECTOR,
    OPEN_SUSPENSIONS_SELECTOR,
    RETRYABLE_PHASES_SELECTOR,
    Function,
    ScheduledExecution,
    Suspension,
)
from kontinue.errors import KontinueError
from kontinue.kube import requests
from kontinue.kube.api_groups import in_group
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport

_PATIENCE_S: Final = 2.0
"""How long a line may stand still for a Tab. Judgement."""
_MOST: Final = 500
"""More names help nobody."""

T = TypeVar("T")


class _Named(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class _List(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None


def executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of Executions, each with its function."""
    return _executions_where(ctx, "")


def live_executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of Executions that have not ended, each with its function: those that can be ended."""
    return _executions_where(ctx, LIVE_PHASES_SELECTOR)


def retryable_executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of Executions that failed or were canceled, each with its function."""
    return _executions_where(ctx, RETRYABLE_PHASES_SELECTOR)


def suspended_executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of Executions that wait for something that can be resumed, each with what that is."""
    found = _listed(ctx, requests.SUSPENSIONS, Suspension, field_selector=OPEN_SUSPENSIONS_SELECTOR)
    return [(one.spec.execution, one.spec.display_name or one.spec.kind.value) for one in found]


def _executions_where(ctx: typer.Context, fields: str) -> list[tuple[str, str]]:
    found = _listed(ctx, requests.EXECUTIONS, _Named, only_metadata=True, field_selector=fields)
    return [(one.metadata.name, one.metadata.labels.get(labels.FUNCTION, "")) for one in found]


def functions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the registered names of Functions, each with its description."""
    shown = (one for one in _listed(ctx, requests.FUNCTIONS, Function) if labels.HIDDEN not in one.metadata.annotations)
    return [(one.spec.name, one.spec.description) for one in shown]


def suspensions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of open Suspensions, each with what it is shown as."""
    found = _listed(ctx, requests.SUSPENSIONS, Suspension, field_selector=OPEN_SUSPENSIONS_SELECTOR)
    return [(one.metadata.name, one.spec.display_name or one.spec.execution) for one in found]


def schedules(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of ScheduledExecutions, each with its function and times."""
    found = _listed(ctx, requests.SCHEDULED_EXECUTIONS, ScheduledExecution)
    return [(one.metadata.name, f"{one.spec.function} at {one.spec.schedule}") for one in found]


def archived_executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """Return the names of roots that have an archive, each with its function."""
    found = _listed(ctx, requests.ARCHIVED_EXECUTIONS, _Named, only_metadata=True)
    keyed = [(one, key) for one in found if (key := archives.part_key(one.metadata)) is not None and key.part == 1]
    return [(key.execution, one.metadata.labels.get(labels.FUNCTION, "")) for one, key in keyed]


def _names_of(resource: requests.Resource) -> Callable[[typer.Context], list[tuple[str, str]]]:
    def names(ctx: typer.Context) -> list[tuple[str, str]]:
        return [(one.metadata.name, "") for one in _listed(ctx, resource, _Named, only_metadata=True)]

    return names


wait_groups = _names_of(requests.WAIT_GROUPS)
mutexes = _names_of(requests.MUTEXES)
rw_mutexes = _names_of(requests.RW_MUTEXES)
onces = _names_of(requests.ONCES)
semaphores = _names_of(requests.SEMAPHORES)
barriers = _names_of(requests.BARRIERS)
gates = _names_of(requests.GATES)
leases = _names_of(requests.KONDUCTOR_LEASES)


def _listed(ctx: typer.Context, resource: requests.Resource, type_: type[T], **selection: Any) -> list[T]:
    # While a line is completed no callback runs: the global options are what the parser has found so far.
    given = ctx.find_root().params

    async def ask() -> list[T]:
        config = load_config(
            kubeconfig=given.get("kubeconfig"), context=given.get("context"), namespace=given.get("namespace")
        )
        transport = KubeTransport(config, user_agent="kontinue-cli")
        try:
            request = requests.list_objects(resource, config.namespace, limit=_MOST, **selection)
            request = in_group(request, given.get("api_group") or group.GROUP)
            body = await transport.send(request, retries=False, timeout_s=_PATIENCE_S)
        finally:
            await transport.close()
        items = msgspec.json.decode(body, type=_List).items or []
        return [msgspec.json.decode(item, type=type_) for item in items]

    try:
        return asyncio.run(ask())
    except (KontinueError, msgspec.MsgspecError, OSError):
        return []
