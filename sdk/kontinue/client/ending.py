"""How a client ends an Execution beside its busy owner, and what a result of its choice must look like.

Called by ``Client.cancel`` and ``Client.skip``. The patch tests the phase (``kontinue.api.patches``): if that has
changed meanwhile, it is built anew from the phase as it is then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from kontinue import codec, errors
from kontinue.api.v1alpha1 import MAX_RESULT_BYTES, Execution, Function, Phase
from kontinue.client.arguments import first_problem
from kontinue.client.waiting import Target
from kontinue.errors import CodecError, InvalidResult
from kontinue.kube import requests
from kontinue.kube.patching import patch_as_seen
from kontinue.kube.requests import Request

Operations = list[dict[str, Any]]

_VERBS: Final = {Phase.CANCELED: "canceled", Phase.SKIPPED: "skipped"}


async def end_execution(
    target: Target,
    phase: Phase,
    *,
    read: Callable[[], Awaitable[Execution]],
    send: Callable[[Request], Awaitable[object]],
    operations: Callable[[Execution], Awaitable[Operations]],
) -> None:
    """Bring an Execution to ``phase``, Canceled or Skipped.

    Args:
        target: which.
        phase: how it is to end.
        read: reads it.
        send: sends a request.
        operations: builds the patch from what was read.

    Raises:
        InvalidState: it has ended already.
        NotFound: it was deleted and created again.
    """

    async def build(found: Execution, refusals: int) -> Request | None:
        if target.uid and found.metadata.uid != target.uid:
            raise errors.NotFound(f"Execution {target} was deleted and created again", status=404)
        if found.phase.is_terminal:
            if refusals and found.phase is phase:
                return None  # ours, and its answer was lost, or somebody else's: the wish is fulfilled
            raise errors.InvalidState(f"Execution {target} cannot be {_VERBS[phase]}: it is {found.phase} already")
        patch = await operations(found)
        return requests.json_patch(requests.EXECUTIONS, target.namespace, target.name, patch, subresource="status")

    await patch_as_seen(read=read, build=build, send=send)


def encode_result(name: str, function: Function | None, result: object) -> bytes:
    """Return the JSON of a result that is given to an Execution of the function ``name``.

    Args:
        name: registered name of the function.
        function: as its worker registered it; None if nobody has.
        result: what whoever waits for the Execution gets.

    Raises:
        InvalidResult: JSON cannot carry it, it is too large, or not what the function returns; ``path`` says where.
    """
    try:
        data = codec.encode_any(result)
    except CodecError as error:
        raise InvalidResult(f"result for {name}: {error}", path=error.path) from error.__cause__
    if len(data) > MAX_RESULT_BYTES:
        raise InvalidResult(
            f"result for {name} is {len(data):,} bytes of JSON, the limit is {MAX_RESULT_BYTES:,}: "
            "store it elsewhere and give where it is"
        )
    if function is not None and function.spec.result is not msgspec.UNSET:
        _check(name, bytes(function.spec.result), data, is_given=result is not None)
    return data


def _check(name: str, schema: bytes, data: bytes, *, is_given: bool) -> None:
    problem = first_problem(schema, msgspec.json.decode(data))
    if problem is None:
        return
    path, message = problem
    if is_given:
        raise InvalidResult(f"result for {name}: {path}: {message}", path=path)
    raise InvalidResult(
        f"{name} does not return null, so that whoever waits for it could not read that: give a result of its type "
        f"({message})"
    )
