"""Client of kontinue: spawn Executions and follow them from outside of a worker."""

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
