"""pytest plug-in: the fixtures ``kontinue_env``, ``kontinue_sync_env`` and ``kontinue_replay``; found by entry point.

It is imported at every start of pytest wherever kontinue is installed, so it imports nothing: the engine is loaded by
the first test that asks for a fixture. See docs/testing.md; switched off by ``-p no:kontinue``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kontinue_engine.testing import SyncTestEnvironment, TestEnvironment

_MARKER = "kontinue_env(replay=True, start=None): options of the test environment, those of TestEnvironment."


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def kontinue_env(request: pytest.FixtureRequest) -> Iterator[TestEnvironment]:
    """An environment for an async test: durable functions on virtual time, in the test's process."""
    from kontinue_engine.testing import TestEnvironment

    environment = TestEnvironment(**_options(request))
    yield environment
    environment.close()


@pytest.fixture
def kontinue_sync_env(request: pytest.FixtureRequest) -> Iterator[SyncTestEnvironment]:
    """An environment for a sync test: durable functions on virtual time, in the test's process."""
    from kontinue_engine.testing import SyncTestEnvironment

    environment = SyncTestEnvironment(**_options(request))
    yield environment
    environment.close()


@pytest.fixture
def kontinue_replay(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``assert_replays``; relative paths are those from the folder of the test."""
    from kontinue_engine.testing import assert_replays

    return functools.partial(assert_replays, folder=request.path.parent)


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("kontinue_env")
    return dict(marker.kwargs) if marker is not None else {}
