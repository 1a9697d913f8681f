"""Internal. Asks the API server whether something that held a mutex or a slot still runs.

Used by the leader's duties (``mutexes``, ``limits``) about Executions that they do not see any more; what the answer
means is decided in ``kontinue_engine.sharding.fates``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.v1alpha1 import Phase
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.coordinator.holders import Holders
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.sharding.fates import Fate, judge
from kontinue_engine.sharding.views import PlacedExecution

MAY_RUN_ON: Final = (Phase.CANCELED, Phase.SKIPPED, Phase.FAILED)
"""Phases of what may have ended without having stopped."""
UNKNOWN: Final = (errors.ApiError, msgspec.MsgspecError)
"""What ``fetch_fate`` raises when it cannot tell."""

_decode: Final = msgspec.json.Decoder(PlacedExecution).decode


async def fetch_fate(
    transport: Transport,
    namespace: str,
    *,
    group: str,
    is_sharded: bool,
    name: str,
    uid: str,
    live: Collection[str],
) -> Fate:
    """Return the fate of an Execution. One that is gone may still be stopping where it ran.

    Args:
        transport: to the API server.
        namespace: of the Execution.
        group: worker group that runs it.
        is_sharded: whether that is.
        name: of the Execution.
        uid: another one of the same name does not count.
        live: incarnations that hold a Lease as far as is known; saves a request. Of others the server is asked.

    Raises:
        ApiError: the server does not answer.
        MsgspecError: it cannot be read.
    """
    try:
        execution = _decode(await transport.send(requests.get(requests.EXECUTIONS, namespace, name)))
    except errors.NotFound:
        return Fate.UNSURE
    if execution.metadata.uid != uid:
        return Fate.UNSURE
    status, owner = execution.status, execution.status.owner
    is_terminal = status.phase is not None and status.phase.is_terminal
    has_stopped = is_stopped(status.conditions)
    is_owner_gone = False
    if is_terminal and not has_stopped and owner is not None and owner.incarnation not in live:
        is_owner_gone = await Holders(transport, namespace, group, is_sharded=is_sharded).is_gone(owner)
    return judge(is_terminal=is_terminal, is_stopped=has_stopped, is_owner_gone=is_owner_gone)
