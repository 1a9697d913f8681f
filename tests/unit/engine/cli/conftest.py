"""Builders of API objects for the command line's tests."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase

MakeExecution = Callable[..., Execution]
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    """A minute after everything was created."""
    return CREATED + timedelta(minutes=1)


@pytest.fixture
def make_execution() -> MakeExecution:
    """Return a builder of Executions whose uid is derived from their name."""

    def make(
        name: str,
        *,
        function: str = "build",
        phase: Phase | None = None,
        parent: str = "",
        **status: Any,
    ) -> Execution:
        owners = [
            OwnerReference(api_version=labels.API_VERSION, kind="Execution", name=parent, uid=f"uid-{parent}"),
        ]
        return Execution(
            metadata=ObjectMeta(
                name=name,
                namespace="default",
                uid=f"uid-{name}",
                creation_timestamp=CREATED,
                labels={labels.ROOT: "root"} if parent else {},
                annotations={labels.STEP: name},
                owner_references=owners if parent else [],
            ),
            spec=ExecutionSpec(function=function),
            status=ExecutionStatus(phase=phase, **status),
        )

    return make
