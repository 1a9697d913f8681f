from __future__ import annotations

import ast
from pathlib import Path

import pytest

import local_only

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("start", local_only.REASONS)
def test_every_exception_from_both_servers_names_what_exists(start: str) -> None:
    """A renamed test runs on the real server again, instead of being left out for ever."""
    path, _, name = start.partition("::")
    assert (ROOT / path).exists()
    if name:
        functions = ast.walk(ast.parse((ROOT / path).read_text()))
        assert name in {getattr(node, "name", "") for node in functions}
