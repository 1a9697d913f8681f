"""Where manifests are applied: a real control plane, whichever server the other tests were told to use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_server import ApiServer
from manifest_world import ManifestWorld, manifest_world


@pytest.fixture
async def world(kube_api_server: ApiServer, tmp_path: Path) -> AsyncIterator[ManifestWorld]:
    """A namespace with a coordinator, and a node that runs its Pods."""
    async with manifest_world(kube_api_server, tmp_path) as found:
        yield found
