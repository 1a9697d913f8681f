"""Client of kontinue: spawn Executions and follow them from outside of a worker."""

from typing import TYPE_CHECKING

from kontinue._on_demand import on_demand

if TYPE_CHECKING:
    from kontinue.api.batch import Job
    from kontinue.api.v1alpha1 import ChildPolicy
    from kontinue.client.client import Client, Ref
    from kontinue.client.handle import ExecutionHandle
    from kontinue.client.job_logs import JobLogs
    from kontinue.client.options import ClientOptions, SpawnOptions
    from kontinue.client.results import parse_result
    from kontinue.client.sync_client import SyncClient, SyncExecutionHandle, SyncJobLogs, SyncRef, SyncTreeWatcher
    from kontinue.client.tree import ExecutionTree, ExecutionTreeNode, NodeKind
    from kontinue.client.tree_watcher import TreeWatcher

__all__ = [
    "ChildPolicy",
    "Client",
    "ClientOptions",
    "ExecutionHandle",
    "ExecutionTree",
    "ExecutionTreeNode",
    "Job",
    "JobLogs",
    "NodeKind",
    "Ref",
    "SpawnOptions",
    "SyncClient",
    "SyncExecutionHandle",
    "SyncJobLogs",
    "SyncRef",
    "SyncTreeWatcher",
    "TreeWatcher",
    "parse_result",
]

if not TYPE_CHECKING:  # else every name would be one, for type checkers
    __getattr__, __dir__ = on_demand(
        __name__,
        __all__,
        {
            "kontinue.api.batch": "Job",
            "kontinue.api.v1alpha1": "ChildPolicy",
            "kontinue.client.client": "Client Ref",
            "kontinue.client.handle": "ExecutionHandle",
            "kontinue.client.job_logs": "JobLogs",
            "kontinue.client.options": "ClientOptions SpawnOptions",
            "kontinue.client.results": "parse_result",
            "kontinue.client.sync_client": "SyncClient SyncExecutionHandle SyncJobLogs SyncRef SyncTreeWatcher",
            "kontinue.client.tree": "ExecutionTree ExecutionTreeNode NodeKind",
            "kontinue.client.tree_watcher": "TreeWatcher",
        },
    )
