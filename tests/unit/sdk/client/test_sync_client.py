"""The synchronous client is the asynchronous one: nothing is missing, nothing is called otherwise."""

import inspect

import pytest

from kontinue.client import (
    Client,
    ExecutionHandle,
    JobLogs,
    SyncClient,
    SyncExecutionHandle,
    SyncJobLogs,
    SyncTreeWatcher,
    TreeWatcher,
)

TWINS = {Client: SyncClient, ExecutionHandle: SyncExecutionHandle, TreeWatcher: SyncTreeWatcher, JobLogs: SyncJobLogs}
ATTRIBUTES = {"asynchronous", "namespace", "timeout", "pod", "container"}
"""Properties of a synchronous one that are set on an asynchronous one."""


def public(of):
    return {name for name, _ in inspect.getmembers(of) if not name.startswith("_")}


def parameters(method):
    return [(found.name, found.kind, found.default) for found in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("asynchronous", TWINS)
def test_each_method_has_a_twin_with_the_same_parameters(asynchronous):
    """Names, kinds and defaults."""
    twin = TWINS[asynchronous]
    for name in public(asynchronous):
        member = getattr(asynchronous, name)
        if inspect.isfunction(member):
            assert parameters(getattr(twin, name)) == parameters(member), name
        else:
            assert hasattr(twin, name), name
    assert public(twin) - public(asynchronous) <= ATTRIBUTES
