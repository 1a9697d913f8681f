"""Which of the engine's tests make sense on the local API server only, and why: the one place that says so.

With ``--api-server kube`` they are left out, and the end of the run lists them.
"""

from __future__ import annotations

from collections import Counter

import pytest

LEFT_OUT = pytest.StashKey[list[str]]()
REASONS = {
    "tests/integration/apiserver/": "about the local API server itself",
    "tests/integration/cli/test_dev.py": "kontinue dev starts the local API server",
    "tests/integration/cli/test_dev_jobs.py": "kontinue dev starts the local API server",
    "tests/integration/cli/test_tutorial.py": "kontinue dev starts the local API server",
    "tests/integration/cli/test_init.py": "kontinue dev starts the local API server",
    "tests/integration/cli/test_processes.py": "about kontinue apiserver and the log files of kontinue dev",
    "tests/integration/cli/test_verbs.py::test_a_tree_is_logged": "reads the log files of kontinue dev",
    "tests/integration/client/test_client.py::test_waits_survive_a_compacted_history": (
        "compacts the history under a server that runs; "
        "tests/integration/client/test_restart.py meets a real 410 after a restart"
    ),
    "tests/integration/client/test_silent_server.py": "a server that answers nothing",
    "tests/integration/kube/test_config.py": "finds kontinue dev and reads kubeconfigs; sends nothing",
    "tests/integration/kube/test_connections.py": "scripted servers, byte by byte",
    "tests/integration/kube/test_http.py": "a scripted server",
    "tests/integration/kube/test_process_identity.py": "no server",
    "tests/integration/pool/": "no server",
    "tests/e2e/test_wheel.py": "what pip installs; starts the local API server from it",
}


def take_out(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Remove those tests from ``items``; return what to tell about them."""
    reasons = [reason_of(item.nodeid) for item in items]
    out = [item for item, reason in zip(items, reasons, strict=True) if reason]
    items[:] = [item for item, reason in zip(items, reasons, strict=True) if not reason]
    config.hook.pytest_deselected(items=out)
    counts = Counter((item.nodeid.partition("::")[0], reason_of(item.nodeid)) for item in out)
    return [f"local server only: {count} of {file} ({reason})" for (file, reason), count in counts.items()]


def reason_of(nodeid: str) -> str:
    """Return why a test needs the local server; empty if it does not."""
    return next((reason for start, reason in REASONS.items() if nodeid.startswith(start)), "")
