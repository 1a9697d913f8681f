"""Internal. Child Executions as API objects: build, create or find, read their outcome.

Called by ``controllers.offspring``; they are canceled by ``kontinue_engine.kube.executions``. Idempotent by
deterministic names: a child that exists already is ours only if owner uid, function and arguments digest match
(design.md section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ApiStruct, ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionAttempt,
    ExecutionMutex,
    ExecutionRetry,
    ExecutionSpec,
    ExecutionStatus,
    ExecutionTimeout,
    ExecutionTTL,
    Phase,
)
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.runtime import Scope
from kontinue_engine.kube.executions import UnreadableError, read_execution
from kontinue_engine.kube.functions import find_owner
from kontinue_engine.lifecycle.child_notes import ParentNote
from kontinue_engine.lifecycle.timeouts import OVERALL_TIMEOUT, timeout_error
from kontinue_engine.wire import frames

_decode_execution: Final = msgspec.json.Decoder(Execution).decode


class ChildRejectedError(Exception):
    """The child cannot be created; ``info`` is what the call in user code raises."""

    def __init__(self, info: frames.ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info


class ChildGoneError(Exception):
    """The child was there, and is not any more: somebody has deleted it."""


class _SpecExtras(ApiStruct, frozen=True, kw_only=True):
    retry: ExecutionRetry | None = None
    timeout: ExecutionTimeout | None = None
    ttl: ExecutionTTL | None = None
    mutex: ExecutionMutex | None = None


_decode_extras: Final = msgspec.json.Decoder(_SpecExtras).decode


def build_child(
    parent: Entry, step: str, command: frames.CreateChild, *, group: str, scope: Scope, attempt: int
) -> Execution:
    """Return the object to create.

    Args:
        parent: whose step it is.
        step: id of the step.
        command: what user code asked for.
        group: worker group that owns the function.
        scope: of the parent's replica.
        attempt: of the parent.
    """
    extras = _decode_extras(command.spec) if command.spec else _SpecExtras()
    # A child with a mutex goes to the leader's shard, a limited one waits until the leader admits it.
    stays = not command.leaves_shard and extras.mutex is None and command.function not in scope.limits
    shard = scope.shard if group == scope.group and stays else ""
    child_labels = {
        labels.WORKER_GROUP: group,
        labels.FUNCTION: labels.label_value(command.function),
        labels.ROOT: parent.root,
        labels.PARENT: labels.label_value(parent.name),
    }
    if shard:
        child_labels[labels.SHARD] = shard
    elif scope.shard or group != scope.group:
        child_labels[labels.PARENT_GROUP] = scope.group
    notes = {labels.PARENT_ATTEMPT: str(ParentNote(attempt))} if attempt > 1 else {}
    if parent.status.run_epoch:
        notes[labels.RUN_EPOCH] = str(parent.status.run_epoch)
    owner = OwnerReference(
        api_version=labels.API_VERSION, kind="Execution", name=parent.name, uid=parent.uid, controller=True
    )
    return Execution(
        metadata=ObjectMeta(
            name=command.name,
            labels=child_labels,
            annotations={labels.STEP: step, labels.ARGUMENTS_DIGEST: command.arguments_digest, **notes},
            owner_references=[owner],
        ),
        spec=ExecutionSpec(
            function=command.function,
            arguments=msgspec.Raw(command.arguments),
            retry=extras.retry,
            timeout=extras.timeout,
            ttl=extras.ttl,
            mutex=extras.mutex,
        ),
    )


async def create_child(
    transport: Transport, *, namespace: str, child: Execution, look_first: bool, may_create: bool = True
) -> Execution | None:
    """Create ``child``, or return the one that an earlier run created.

    Returns None if something that goes away has its name: try again, soon.

    Args:
        transport: where to.
        namespace: of parent and child.
        child: as built by ``build_child``.
        look_first: GET before POST: after a crash it usually exists.
        may_create: it has not been there yet.

    Raises:
        ChildGoneError: it may not be created, and does not exist.
        ChildRejectedError: the server refuses it, or the name is taken by something else.
    """
    if look_first or not may_create:
        found = await _find_own(transport, namespace, child)
        if found is not None:
            return found
        if not may_create:
            raise ChildGoneError
    try:
        request = requests.create(requests.EXECUTIONS, namespace, child)
        return _decode_execution(await transport.send(request, repeatable=True))
    except errors.AlreadyExists:
        return await _find_own(transport, namespace, child)
    except (errors.Invalid, errors.TooLarge, errors.Forbidden, errors.NotFound) as error:
        raise ChildRejectedError(own_error(type(error), str(error))) from error


async def _find_own(transport: Transport, namespace: str, child: Execution) -> Execution | None:
    """Return the existing child if it is ours; delete one that a vanished owner left behind."""
    try:
        return await _find_or_clear(transport, namespace, child)
    except UnreadableError as error:
        message = f"{error}: delete it if it is a leftover, or give the child another name by options(name=...)"
        raise ChildRejectedError(own_error(errors.AlreadyExists, message)) from error


async def _find_or_clear(transport: Transport, namespace: str, child: Execution) -> Execution | None:
    found = await read_execution(transport, namespace=namespace, name=child.metadata.name)
    if found is None:
        return None
    owners = {owner.uid for owner in found.metadata.owner_references}
    wanted = child.metadata
    if (
        wanted.owner_references[0].uid in owners
        and found.spec.function == child.spec.function
        and found.metadata.annotations.get(labels.ARGUMENTS_DIGEST) == wanted.annotations[labels.ARGUMENTS_DIGEST]
    ):
        return found
    if not owners or wanted.owner_references[0].uid in owners:
        raise ChildRejectedError(_taken(child))
    finalizers = [one for one in found.metadata.finalizers if "/" in one]  # the garbage collector's have no domain
    if found.metadata.deletion_timestamp is not None and finalizers:
        raise ChildRejectedError(_stuck(child, finalizers))
    for owner in found.metadata.owner_references:
        if owner.kind != "Execution":
            raise ChildRejectedError(_taken(child))
        living = await read_execution(transport, namespace=namespace, name=owner.name)
        if living is not None and living.metadata.uid == owner.uid:
            raise ChildRejectedError(_taken(child))
    try:
        request = requests.delete(
            requests.EXECUTIONS,
            namespace,
            child.metadata.name,
            uid=found.metadata.uid,
            resource_version=found.metadata.resource_version,
        )
        await transport.send(request)
    except (errors.NotFound, errors.Conflict):
        pass
    return None


def _taken(child: Execution) -> frames.ErrorInfo:
    message = (
        f"Execution {child.metadata.name} exists already, with another owner, function or arguments: "
        "delete it if it is a leftover, or give the child another name by options(name=...)"
    )
    return own_error(errors.AlreadyExists, message)


def _stuck(child: Execution, finalizers: Sequence[str]) -> frames.ErrorInfo:
    message = (
        f"Execution {child.metadata.name} exists already, a leftover that waits for its finalizers "
        f"{', '.join(finalizers)}: find out who has to remove them, or give the child another name by options(name=...)"
    )
    return own_error(errors.AlreadyExists, message)


async def find_group(transport: Transport, *, namespace: str, function: str) -> str:
    """Return the worker group that a child for ``function`` belongs to.

    Raises:
        ChildRejectedError: no Function of that name is registered, or it does not say whose it is.
        ApiError: the server does not answer.
    """
    owner = await find_owner(transport, namespace=namespace, function=function)
    if owner:
        return owner
    if owner is None:
        message = (
            f"no worker group owns a function {function!r} in namespace {namespace}: "
            "start the worker that has it, or check the name given to @remote"
        )
    else:
        message = f"Function {function} does not say which worker group owns it: delete it, and it is registered anew"
    raise ChildRejectedError(own_error(errors.UnknownFunction, message))


def outcome_of(*, name: str, uid: str, status: ExecutionStatus, now_ms: int) -> frames.ChildFinished:
    """Return how a terminal child ended; ``now_ms`` stands in where a client ended it without a time."""
    attempt = status.attempts[-1] if status.attempts else None
    error = None
    result = None
    if status.phase in {Phase.COMPLETED, Phase.SKIPPED}:
        result = b"null" if status.result is msgspec.UNSET else bytes(status.result)
    elif status.phase is Phase.FAILED:
        error = _failure_of(status, attempt)
    else:
        error = own_error(errors.ExecutionCanceled, status.message or "Canceled")
    return frames.ChildFinished(
        name=name,
        uid=uid,
        attempt=max(1, status.attempt_count),
        phase=status.phase.value if status.phase else "",
        finished_at_ms=int(status.finished_at.timestamp() * 1000) if status.finished_at else now_ms,
        result=result,
        error=error,
    )


def _failure_of(status: ExecutionStatus, attempt: ExecutionAttempt | None) -> frames.ErrorInfo:
    """Return why it failed: for what its last attempt failed for, unless it waited for the next one."""
    if status.reason == OVERALL_TIMEOUT:
        recorded = timeout_error(status.message)
    elif attempt is not None and attempt.error is not None:
        recorded = attempt.error
    else:
        return frames.ErrorInfo(type=status.reason, message=status.message)
    return frames.ErrorInfo(
        type=recorded.type, message=recorded.message, traceback=recorded.traceback, types=list(recorded.types)
    )
