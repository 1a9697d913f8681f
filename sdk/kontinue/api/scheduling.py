"""The Execution that a schedule asks for. Pure; built by the leader for an occurrence, by ``Client`` for a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ScheduledExecution

SCHEDULE_KIND: Final = "ScheduledExecution"


def build_scheduled_run(
    schedule: ScheduledExecution, *, name: str, group: str, annotations: Mapping[str, str]
) -> Execution:
    """Return an Execution that belongs to ``schedule``: it counts for its policy and history, and goes with it.

    Args:
        schedule: what to run, with which arguments and defaults.
        name: of the Execution.
        group: worker group that has the function.
        annotations: of the Execution.
    """
    meta, spec = schedule.metadata, schedule.spec
    defaults = spec.execution_defaults
    owner = OwnerReference(
        api_version=labels.API_VERSION, kind=SCHEDULE_KIND, name=meta.name, uid=meta.uid, controller=True
    )
    return Execution(
        metadata=ObjectMeta(
            name=name,
            labels={
                labels.WORKER_GROUP: group,
                labels.FUNCTION: labels.label_value(spec.function),
                labels.SCHEDULE: labels.label_value(meta.name),
            },
            annotations=dict(annotations),
            owner_references=[owner],
        ),
        spec=ExecutionSpec(
            function=spec.function,
            arguments=spec.arguments,
            retry=defaults.retry if defaults else None,
            timeout=defaults.timeout if defaults else None,
            ttl=defaults.ttl if defaults else None,
        ),
    )
