"""docs/go-client.md: every name of the Go client has its counterpart, in both colours."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import kontinue.client
from kontinue.client import Client, SyncClient

DOCUMENT = Path(__file__).parents[3] / "docs" / "go-client.md"
ROW = re.compile(r"^\| (`[^|]+) \|([^|]*)\|[^|]*\|$", re.MULTILINE)
GO_NAMES = """
New NewWithOptions NewFromKubeClient Options Options.Impersonate Options.QPS Options.Burst Namespace Context
WithContext WithNamespace KubeClient FunctionName Spawn SpawnOptions SpawnOptions.Name SpawnOptions.Namespace
SpawnOptions.Retry SpawnOptions.TTL SpawnOptions.Timeout SpawnOptions.Mutex Get GetNamespaced GetExecution List
ListNamespaced GetChildExecutions GetChildExecutionsNamespaced ListOptions ListOptions.LabelSelector
ListOptions.Function ListOptions.Root ListOptions.Schedule ListOptions.WorkerGroup ListOptions.Phases
ListOptions.OnlyRoot WaitForExecution ParseResult Cancel CancelOptions CancelOptions.Message Skip SkipOptions
SkipOptions.Message SkipOptions.Result RetryExecution RetryOptions RetryOptions.ChildPolicy ChildPolicyNone
ChildPolicyRetryFailed ChildPolicyRetryAll GetSuspension GetSuspensionNamespaced ResumeSuspension ResumeExecution
ResumeOptions ResumeOptions.Recursive Function FunctionNamespaced Functions FunctionsNamespaced ListFunctionsOptions
ListFunctionsOptions.IncludeHidden ListFunctionsOptions.WorkerGroup GetScheduledExecution
GetScheduledExecutionNamespaced ListScheduledExecutions ListScheduledExecutionsNamespaced SuspendScheduledExecution
ResumeScheduledExecution ScheduleListOptions ScheduleListOptions.Function ScheduleListOptions.LabelSelector GetJob
GetJobNamespaced GetJobLogs GetJobLogsNamespaced PodLogOptions.Follow GetTree GetTreeNamespaced WatchTree
WatchTreeNamespaced ExecutionTree ExecutionTree.Root ExecutionTree.IsArchived ExecutionTreeNode ExecutionTreeNode.Name
ExecutionTreeNode.Namespace ExecutionTreeNode.CreatedAt ExecutionTreeNode.StartedAt ExecutionTreeNode.FinishedAt
ExecutionTreeNode.Kind ExecutionTreeNode.Phase ExecutionTreeNode.Message ExecutionTreeNode.AttemptNumber
ExecutionTreeNode.Children NodeKindExecution NodeKindSuspension NodeKindJob NodeKindAttempt
ExecutionTreeNode.Execution ExecutionTreeNode.Suspension ExecutionTreeNode.Job ExecutionTreeNode.Attempt TreeWatcher
TreeWatcher.Updates TreeWatcher.Errors TreeWatcher.Stop
"""
"""Every function, method, type, field and constant of the Go client."""
UNNAMED = {"FunctionName"}
"""What needs no name of its own here."""


def cells(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


ROWS = [(cells(go), cells(python)) for go, python in ROW.findall(DOCUMENT.read_text())]
COUNTERPARTS = sorted({name for _, python in ROWS for name in python})


def test_every_name_of_the_go_client_is_in_the_table() -> None:
    """Once, and nothing without a counterpart."""
    listed = [name for go, _ in ROWS for name in go]
    assert len(listed) == len(set(listed))
    assert set(re.findall(r"\S+", GO_NAMES)) <= set(listed)
    assert {name for go, python in ROWS for name in go if not python} == UNNAMED


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_each_counterpart_exists_with_its_parameters(name: str) -> None:
    """In both colours, where there are two."""
    path, parenthesis, given = name.partition("(")
    wanted = {one.strip().lstrip("*") for one in given.removesuffix(")").split(",") if one.strip()}
    for owner, attribute in owners_of(path):
        if not attribute:
            assert wanted <= inspect.signature(owner).parameters.keys()
        elif parenthesis:
            assert wanted <= inspect.signature(getattr(owner, attribute)).parameters.keys()
        else:
            assert hasattr(owner, attribute) or is_told(owner, attribute)


def owners_of(path: str) -> list[tuple[Any, str]]:
    """Return what has the attribute: both clients, both colours of a class; or a class or function, without one."""
    owner, _, attribute = path.rpartition(".")
    if owner:
        twin = getattr(kontinue.client, f"Sync{owner}", None) if attribute != "__aiter__" else None
        return [(one, attribute) for one in (getattr(kontinue.client, owner), twin) if one is not None]
    if path.startswith(".") or hasattr(Client, path):
        return [(one, attribute) for one in (Client, SyncClient)]
    return [(getattr(kontinue.client, path), "")]


def is_told(owner: type, attribute: str) -> bool:
    """Tell whether the docstring of a class lists an attribute that its instances have."""
    return re.search(rf"^ +{attribute}: ", inspect.getdoc(owner) or "", re.MULTILINE) is not None
