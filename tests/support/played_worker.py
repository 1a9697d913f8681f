"""An app of one function, and somebody who does what its worker would do: writes statuses and creates children."""

from __future__ import annotations

import msgspec

from kontinue import App
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import (
    Execution,
    ExecutionSpec,
    Function,
    FunctionSpec,
    Suspension,
    SuspensionKind,
    SuspensionSpec,
)
from kontinue.kube import requests
from kontinue.kube.requests import EXECUTIONS, FUNCTIONS, SUSPENSIONS

app = App(group="releases")


@app.function
def build(target: str, *, opt: int = 2) -> list[str]:
    """Build a target."""
    return [target] * opt


class PlayedWorker:
    """Writes statuses as a worker does."""

    def __init__(self, kube, namespace):
        self._kube = kube
        self._namespace = namespace

    async def register(self, definition=build, *, hidden=False):
        codec = definition.codec
        await self._kube.send(
            requests.create(
                FUNCTIONS,
                self._namespace,
                Function(
                    metadata=ObjectMeta(
                        name=definition.name,
                        labels={labels.WORKER_GROUP: "releases"},
                        annotations={labels.HIDDEN: "true"} if hidden else {},
                    ),
                    spec=FunctionSpec(
                        name=definition.name,
                        worker_group="releases",
                        arguments=msgspec.Raw(msgspec.json.encode(codec.arguments_schema())),
                        result=msgspec.Raw(msgspec.json.encode(codec.result_schema())),
                    ),
                ),
            )
        )

    async def write(self, name, phase, *, result=None, **status):
        body = await self._kube.send(requests.get(EXECUTIONS, self._namespace, name))
        execution = msgspec.json.decode(body, type=Execution)
        if result is not None:
            status["result"] = msgspec.Raw(msgspec.json.encode(result))
        new = msgspec.structs.replace(execution.status, phase=phase, **status)
        request = requests.replace_status(
            EXECUTIONS, self._namespace, name, msgspec.structs.replace(execution, status=new)
        )
        await self._kube.send(request)

    async def create_child(self, parent, name, step):
        child = Execution(metadata=_below(parent, name, step), spec=ExecutionSpec(function="build"))
        await self._kube.send(requests.create(EXECUTIONS, self._namespace, child))

    async def suspend(self, parent, name, step, *, payload_schema=None):
        """Let an Execution wait for somebody, who says something if there is a schema for that."""
        schema = msgspec.UNSET if payload_schema is None else msgspec.Raw(msgspec.json.encode(payload_schema))
        spec = SuspensionSpec(execution=parent.metadata.name, kind=SuspensionKind.MANUAL, payload_schema=schema)
        suspension = Suspension(metadata=_below(parent, name, step), spec=spec)
        await self._kube.send(requests.create(SUSPENSIONS, self._namespace, suspension))


def _below(parent, name, step):
    owner = OwnerReference(
        api_version=labels.API_VERSION, kind="Execution", name=parent.metadata.name, uid=parent.metadata.uid
    )
    return ObjectMeta(
        name=name,
        labels={
            labels.ROOT: parent.metadata.labels.get(labels.ROOT, parent.metadata.name),
            labels.PARENT: parent.metadata.name,
        },
        annotations={labels.STEP: step},
        owner_references=[owner],
    )
