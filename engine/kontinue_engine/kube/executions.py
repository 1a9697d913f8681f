"""Internal. Reads one Execution, writes its status by PUT with resourceVersion (and explains a conflict), cancels it.

Called by the controllers, with at most one status write in flight per Execution, and by the leader's duties. Decides
nothing: a conflict is returned as what the server has now, and the caller decides again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ApiStruct, ObjectMeta, PartialObjectMetadata
from kontinue.api.patches import CANCELED_BY_PARENT, cancel_operations, withdraw_operations
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR, Execution, ExecutionStatus
from kontinue.kube import requests
from kontinue.kube.patching import patch_as_seen
from kontinue.kube.reflector import Reflector
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue_engine.errors import EngineError
from kontinue_engine.lifecycle.child_notes import Stage, stage_of
from kontinue_engine.telemetry.logs import get_logger

UNADOPTED_SELECTOR: Final = f"!{labels.WORKER_GROUP}"
"""Label selector of what belongs to no worker group."""

_log = get_logger(__name__)


class UnreadableError(EngineError):
    """An Execution does not decode: a newer version wrote it, or a looser schema let it in. It concerns no other one.

    Attributes:
        name: of the Execution.
    """

    def __init__(self, *, namespace: str, name: str, problem: str) -> None:
        super().__init__(f"Execution {namespace}/{name} cannot be read: {problem}")
        self.name = name


class Written(msgspec.Struct, frozen=True):
    """The status is durable under this resourceVersion."""

    version: str


class Changed(msgspec.Struct, frozen=True):
    """Somebody else wrote first; this is what the server has."""

    execution: Execution


class Gone(msgspec.Struct, frozen=True):
    """The Execution does not exist any more."""


class Refused(msgspec.Struct, frozen=True):
    """The server will never accept this status: too large, or against the schema."""

    error: errors.ApiError


class _Metadata(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _StatusBody(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    """What a PUT of a status needs; the server takes everything else from the stored object."""

    metadata: _Metadata
    status: ExecutionStatus
    api_version: str = labels.API_VERSION
    kind: str = "Execution"


class _Answer(msgspec.Struct):
    metadata: _Metadata


_encode: Final = msgspec.json.Encoder().encode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_execution: Final = msgspec.json.Decoder(Execution).decode


async def write_status(
    transport: Transport, *, namespace: str, name: str, uid: str, version: str, status: ExecutionStatus
) -> Written | Changed | Gone | Refused:
    """Replace the status; safe to be sent again, because the resourceVersion admits one write only.

    Raises:
        UnreadableError: somebody else wrote first, and what stands there now does not decode.
        ApiError: the server refused for a reason that no retry and no new decision can mend (credentials).
    """
    body = _StatusBody(
        metadata=_Metadata(name=name, namespace=namespace, uid=uid, resource_version=version), status=status
    )
    request = requests.replace_status(requests.EXECUTIONS, namespace, name, _encode(body))
    try:
        return Written(_decode_answer(await transport.send(request)).metadata.resource_version)
    except errors.NotFound:
        return Gone()
    except (errors.TooLarge, errors.Invalid) as error:
        return Refused(error)
    except errors.Conflict:
        pass
    execution = await read_execution(transport, namespace=namespace, name=name)
    if execution is None or execution.metadata.uid != uid:
        return Gone()
    if _is_same(execution.status, status):
        return Written(execution.metadata.resource_version)
    return Changed(execution)


async def read_execution(transport: Transport, *, namespace: str, name: str) -> Execution | None:
    """GET an Execution; None when there is none of that name.

    Raises:
        UnreadableError: it does not decode.
    """
    try:
        return _decode_execution(await transport.send(requests.get(requests.EXECUTIONS, namespace, name)))
    except errors.NotFound:
        return None
    except msgspec.MsgspecError as error:
        raise UnreadableError(namespace=namespace, name=name, problem=str(error)) from error


def _is_same(stored: ExecutionStatus, sent: ExecutionStatus) -> bool:
    """Tell whether a conflict was with our own write, whose answer got lost: the server may order keys anew."""
    return bool(msgspec.json.decode(_encode(stored)) == msgspec.json.decode(_encode(sent)))


async def cancel_children(
    transport: Transport, *, namespace: str, name: str, uid: str, message: str, up_to: Stage | None = None
) -> None:
    """Cancel every live child of an Execution, in whatever shard or group: by a list, for who does not know them.

    Those aside that somebody has retried after it had ended, and that ran for a later stage of it than ``up_to``.

    Raises:
        ApiError: the server refuses.
    """
    for child in await list_live(transport, namespace, f"{labels.PARENT}={labels.label_value(name)}"):
        is_alone = labels.RETRIED_ALONE in child.annotations
        if not is_alone and any(owner.uid == uid for owner in child.owner_references):
            await cancel_from_outside(transport, namespace=namespace, name=child.name, message=message, up_to=up_to)


async def list_live(transport: Transport, namespace: str, label_selector: str) -> Sequence[ObjectMeta]:
    """Return the metadata of all live Executions that carry these labels.

    Raises:
        ApiError: the server refuses.
    """
    found = Reflector(
        transport,
        requests.EXECUTIONS,
        namespace,
        type_=PartialObjectMetadata,
        label_selector=label_selector,
        field_selector=LIVE_PHASES_SELECTOR,
        only_metadata=True,
    )
    return [one.metadata for one in (await found.fetch()).objects]


async def cancel_from_outside(
    transport: Transport,
    *,
    namespace: str,
    name: str,
    message: str,
    reason: str = CANCELED_BY_PARENT,
    up_to: Stage | None = None,
) -> None:
    """Cancel an Execution that may have another owner, as a client does: a JSON patch that tests the phase.

    With ``up_to`` not a child that runs for a later stage of its parent: the cancel was not meant for that.

    A refusal that stays, and an Execution that cannot be read, are logged: it goes on.

    Raises:
        ApiError: the credentials do not allow it.
    """
    try:
        await _cancel(transport, namespace=namespace, name=name, message=message, reason=reason, up_to=up_to)
    except (errors.Invalid, errors.Conflict, errors.TooLarge, UnreadableError) as error:
        _log.error("not canceled", execution=name, error=str(error))


async def _cancel(
    transport: Transport, *, namespace: str, name: str, message: str, reason: str, up_to: Stage | None
) -> None:
    async def read() -> Execution:
        child = await read_execution(transport, namespace=namespace, name=name)
        if child is None:
            raise errors.NotFound(f"no Execution {name!r} in namespace {namespace!r}", status=404)
        return child

    async def build(child: Execution, refusals: int) -> Request | None:
        del refusals
        if child.phase.is_terminal and not child.is_retry_requested:
            return None
        if up_to is not None and stage_of(child.metadata.annotations) > up_to:
            return None
        if child.is_retry_requested:
            operations = withdraw_operations(child)
        else:
            operations = cancel_operations(child, reason=reason, message=message)
        return requests.json_patch(requests.EXECUTIONS, namespace, name, operations, subresource="status")

    with contextlib.suppress(errors.NotFound):
        await patch_as_seen(read=read, build=build, send=transport.send)
