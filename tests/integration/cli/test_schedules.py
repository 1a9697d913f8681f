"""``kontinue schedules``: what is listed, and what suspend, resume and trigger change."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import ScheduledExecution, ScheduledExecutionSpec
from kontinue.client import ClientOptions, SyncClient
from kontinue.kube import requests

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import


def test_schedules_are_listed_stopped_continued_and_triggered(shared: Kontinue) -> None:
    """What was done is said on stdout; a trigger runs although the schedule is suspended."""
    none = shared("schedules")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "Nothing is scheduled.\n")
    schedule = ScheduledExecution(
        metadata=ObjectMeta(name="nightly"),
        spec=ScheduledExecutionSpec(
            schedule="0 3 29 2 *", time_zone="Europe/Berlin", function="greet", arguments=msgspec.Raw(b'{"name":"Ada"}')
        ),
    )
    with SyncClient(ClientOptions(kubeconfig=str(shared.kubeconfig))) as client:
        client.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, client.namespace, schedule))

    done = shared("schedules", "suspend", "nightly")
    assert (done.returncode, done.stdout) == (0, "scheduledexecutions.kontinue.cloud/nightly suspended\n"), done.stderr
    header, row = shared("schedules").stdout.splitlines()
    assert header.split() == ["NAME", "SCHEDULE", "TIME-ZONE", "FUNCTION", "SUSPEND", "NEXT", "LAST", "AGE"]
    assert [word in row for word in ("nightly", "0 3 29 2 *", "Europe/Berlin", "greet", "true")] == [True] * 5

    started = shared("schedules", "trigger", "nightly").stdout.removesuffix(" created\n")
    assert started.startswith("executions.kontinue.cloud/nightly-")
    assert shared("wait", started).returncode == 0
    assert shared("result", started).stdout == '"hello Ada"\n'

    assert shared("schedules", "resume", "nightly").returncode == 0
    (found,) = json.loads(shared("schedules", "-o", "json").stdout)["items"]
    assert found["spec"].get("suspend", False) is False
    assert "Allow" in shared("schedules", "-o", "wide").stdout
    assert shared("schedules", "-o", "name").stdout == "scheduledexecutions.kontinue.cloud/nightly\n"

    unknown = shared("schedules", "trigger", "weekly")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "ScheduledExecution 'weekly' not found in namespace default." in unknown.stderr
