"""``kontinue suspensions`` and ``kontinue resume``: who waits for what, and how it ends."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import


def open_names(kontinue: Kontinue, execution: str) -> list[str]:
    """Wait until an Execution waits for something, and return the names of that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = kontinue("suspensions", "-q", "-o", "json")
        found = [
            one["metadata"]["name"]
            for one in json.loads(listed.stdout)["items"]
            if one["spec"]["execution"] == execution
        ]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{execution} waits for nothing")


def test_somebody_answers_on_the_command_line(shared: Kontinue) -> None:
    """The payload is checked, from wherever it comes; what is resumed is said on stdout."""
    name = shared("execute", "--detach", "approve").stdout.strip()
    (asked,) = open_names(shared, name)
    table = shared("suspensions").stdout
    assert [word in table for word in (asked, name, "Manual", "Ship it?", "Suspended")] == [True] * 5
    refused = shared("resume", name, "--payload", '"yes"')
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Suspension" in refused.stderr
    assert shared("resume", name, "--payload", "yes").returncode == 2
    (shared.folder / "answer.json").write_text("true")
    done = shared("resume", name, "--payload", "@answer.json")
    assert (done.returncode, done.stdout) == (0, f"suspensions.kontinue.cloud/{asked} resumed\n"), done.stderr
    assert shared("wait", name).returncode == 0
    assert shared("result", name).stdout == "true\n"
    again = shared("resume", "--suspension", asked, "--payload", "-", stdin="true")
    assert (again.returncode, "completed already by Client" in again.stderr) == (1, True)
    assert "Completed" in shared("suspensions", "--all", "-o", "wide").stdout
