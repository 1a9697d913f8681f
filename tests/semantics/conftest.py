"""Fixtures of semantics tests: one environment each; what functions did outside is in ``ledger``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kontinue_engine.testing import TestEnvironment


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    """Replays after each durable call, as users have it by default."""
    async with TestEnvironment() as environment:
        yield environment
