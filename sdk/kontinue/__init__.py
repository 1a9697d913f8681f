"""Durable execution for Python that needs nothing but the Kubernetes API.

What authors of functions import; the client is ``kontinue.client``. Loads msgspec and the standard library only.
"""

from typing import TYPE_CHECKING

from kontinue._on_demand import on_demand
from kontinue.errors import (
    ChildFailed,
    CodecError,
    ContextError,
    DefinitionError,
    ExecutionInterrupted,
    InvalidArguments,
    InvalidResult,
    JobFailed,
    KontinueError,
    NonRetryableError,
    PrimitiveFailed,
    RecordedFailure,
    ResultDecodeError,
    StepFailed,
    SuspendTimeout,
    WaitTimeout,
)

if TYPE_CHECKING:
    from kontinue.app import App, remote
    from kontinue.children import Child, SyncChild
    from kontinue.context import ExecutionContext, SyncExecutionContext
    from kontinue.definition import FunctionDefinition
    from kontinue.jobs import ContainerResult, JobResult, JobTemplate, PodResult
    from kontinue.options import Retention, RetryPolicy, TimeoutPolicy
    from kontinue.steps import StepInfo, current_step, step

__all__ = [
    "App",
    "Child",
    "ChildFailed",
    "CodecError",
    "ContainerResult",
    "ContextError",
    "DefinitionError",
    "ExecutionContext",
    "ExecutionInterrupted",
    "FunctionDefinition",
    "InvalidArguments",
    "InvalidResult",
    "JobFailed",
    "JobResult",
    "JobTemplate",
    "KontinueError",
    "NonRetryableError",
    "PodResult",
    "PrimitiveFailed",
    "RecordedFailure",
    "ResultDecodeError",
    "Retention",
    "RetryPolicy",
    "StepFailed",
    "StepInfo",
    "SuspendTimeout",
    "SyncChild",
    "SyncExecutionContext",
    "TimeoutPolicy",
    "WaitTimeout",
    "current_step",
    "remote",
    "step",
]

if not TYPE_CHECKING:  # else every name would be one, for type checkers
    __getattr__, __dir__ = on_demand(
        __name__,
        __all__,
        {
            "kontinue.app": "App remote",
            "kontinue.children": "Child SyncChild",
            "kontinue.context": "ExecutionContext SyncExecutionContext",
            "kontinue.definition": "FunctionDefinition",
            "kontinue.jobs": "ContainerResult JobResult JobTemplate PodResult",
            "kontinue.options": "Retention RetryPolicy TimeoutPolicy",
            "kontinue.steps": "StepInfo current_step step",
        },
    )
