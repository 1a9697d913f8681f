"""Internal. Tells Executions that wait for a slot what they wait for, or that they would wait for ever.

Used by ``coordinator.limits`` in a sharded group: as long as they have no shard, no replica writes their status.
"""

from __future__ import annotations

from collections.abc import Mapping

from kontinue import errors
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Phase, WaitingFor
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.kube import executions
from kontinue_engine.kube.ancestry import Ancestry
from kontinue_engine.kube.events import EventRecorder, execution_reference
from kontinue_engine.lifecycle.admission import FUNCTION, full_message, refusal
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import parse_memo
from kontinue_engine.lifecycle.observed import SHARDED_EPOCH, Observed, Worker
from kontinue_engine.sharding import views
from kontinue_engine.sharding.leases import ReplicaIdentity
from kontinue_engine.telemetry.logs import get_logger

_log = get_logger(__name__)


class LimitNotices:
    """Writes the status of what waits.

    Args:
        transport: to the API server.
        namespace: of the group.
        me: the leader.
        limits: function -> limit.
        events: where it is told that one fails because of its ancestors.
        clock: time.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        me: ReplicaIdentity,
        limits: Mapping[str, int],
        events: EventRecorder,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._worker = Worker(shard=me.shard, incarnation=me.incarnation, build=me.build, first_epoch=SHARDED_EPOCH)
        self._limits = limits
        self._events = events
        self._clock = clock
        self._ancestry = Ancestry(transport, namespace)

    async def tell(self, execution: views.PlacedExecution, holders: Mapping[str, str]) -> bool:
        """Tell one that waits who has the slots: uid -> name. If all of them are ancestors of it, it fails.

        Returns:
            False if it has changed since it was seen: then it is to be told again.

        Raises:
            ApiError: the server does not answer.
            EngineError: it cannot be read.
        """
        parent = parent_of(execution.metadata.owner_references)
        if parent is not None and holders:
            ancestors = await self._ancestry.find(parent.name, parent.uid)
            if ancestors.issuperset(holders):
                return await self._refuse(execution, holders)
        function = execution.spec.function
        if any(item.kind == FUNCTION and item.name == function for item in execution.status.waiting_for):
            return True
        message = full_message(holders, self._limits[function])
        waiting = WaitingFor(kind=FUNCTION, name=function, message=message)
        name = execution.metadata.name
        patch = {
            "metadata": {"resourceVersion": execution.metadata.resource_version},
            "status": {"phase": execution.status.phase or Phase.PENDING, "waitingFor": [waiting]},
        }
        request = requests.merge_patch(requests.EXECUTIONS, self._namespace, name, patch, subresource="status")
        try:
            await self._transport.send(request)
        except (errors.Conflict, errors.NotFound):
            return False
        return True

    async def _refuse(self, execution: views.PlacedExecution, holders: Mapping[str, str]) -> bool:
        meta = execution.metadata
        found = await executions.read_execution(self._transport, namespace=self._namespace, name=meta.name)
        if found is None or found.metadata.uid != meta.uid or found.phase.is_terminal:
            return True
        observed = Observed(
            spec=found.spec,
            status=found.status,
            memo=parse_memo(found.status.state, found.status.memo_pages),
            created_at_ms=int(views.created_s_of(found.metadata) * 1000),
            obstacle=refusal(FUNCTION, execution.spec.function, holders),
        )
        plan = decide(observed, self._worker, self._clock.now_ms())
        if plan.status is None:
            return True
        result = await executions.write_status(
            self._transport,
            namespace=self._namespace,
            name=meta.name,
            uid=meta.uid,
            version=found.metadata.resource_version,
            status=plan.status,
        )
        if not isinstance(result, executions.Written):
            return False
        about = execution_reference(self._namespace, meta.name, meta.uid)
        self._events.record(about, "Warning", plan.status.reason, plan.status.message)
        _log.warning("refused", execution=meta.name, uid=meta.uid, message=plan.status.message)
        return True
