"""Durable execution for Python that needs nothing but the Kubernetes API.

What authors of functions import; the client is ``kontinue.client``. Loads msgspec and the standard library only.
"""

from kontinue.app import App, remote
from kontinue.children import Child, SyncChild
from kontinue.context import ExecutionContext, SyncExecutionContext
from kontinue.definition import FunctionDefinition
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
