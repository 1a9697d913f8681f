from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "engine" / "kontinue_engine" / "apiserver" / "builtin" / "data"


def test_the_table_of_types_names_only_types_that_it_has() -> None:
    """A dangling name would be a server error at the first write of such a field."""
    table = json.loads(zlib.decompress((DATA / "types.json.z").read_bytes()))
    for fields in table.values():
        for _, code, *_ in fields.values():
            element = code.removeprefix("[]").removeprefix("{}").removeprefix("<>").removeprefix("[]")
            assert element in table or len(element) == 1


def test_the_data_is_what_the_modules_give() -> None:
    """Where the modules of the pinned version are at hand."""
    go = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=False) if _has_go() else None
    if go is None or not (Path(go.stdout.strip()) / "k8s.io" / "kubernetes@v1.36.3" / "api").is_dir():
        pytest.skip("needs Go and the modules of tools/kube/control-plane")
    command = [sys.executable, ROOT / "tools" / "generate_built_in_kinds.py", "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def _has_go() -> bool:
    try:
        return subprocess.run(["go", "version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
