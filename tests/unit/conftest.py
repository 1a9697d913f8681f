"""Fixtures of unit tests."""

from __future__ import annotations

import pytest

from scripted_transport import ScriptedTransport


@pytest.fixture
def transport() -> ScriptedTransport:
    """A transport without a network; it refuses everything until a test sets ``answer``."""
    return ScriptedTransport()
