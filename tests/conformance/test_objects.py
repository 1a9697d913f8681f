"""Create, read, update, delete."""

from __future__ import annotations

from api import Api, execution


async def test_created_object_is_read_back(api: Api) -> None:
    """What was created is there, with the metadata that only the server gives."""
    path = api.path("kontinue.cloud/v1alpha1/executions")
    status, created = await api.send("POST", path, execution("one"))
    assert status == 201
    assert created["metadata"]["generation"] == 1
    status, read = await api.send("GET", api.path("kontinue.cloud/v1alpha1/executions", "one"))
    assert (status, read) == (200, created)
