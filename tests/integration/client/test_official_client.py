"""A client from the official package's ApiClient talks to the same server, as the same user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import kubernetes.client
import kubernetes.config
import pytest

from api_server import ApiServer
from kontinue.client import Client, SyncClient
from played_worker import PlayedWorker, build


@pytest.fixture
def api_client(api_server: ApiServer) -> Iterator[kubernetes.client.ApiClient]:
    configuration = kubernetes.client.Configuration(proxy="")
    kubernetes.config.load_kube_config(str(api_server.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as subject:
        yield subject


async def test_both_colours_are_made_from_an_api_client(
    api_server: ApiServer, api_client: kubernetes.client.ApiClient
) -> None:
    """They spawn and read; closing them leaves the ApiClient alone."""
    async with Client.from_kube(api_client, api_server.namespace) as client:
        await PlayedWorker(client.kube, api_server.namespace).register()
        handle = await client.spawn(build, "amd64")
        assert (await client.get(handle.name)).metadata.uid == handle.uid

    def read() -> str:
        with SyncClient.from_kube(api_client, api_server.namespace) as client:
            return client.get(handle.name).metadata.uid

    assert await asyncio.to_thread(read) == handle.uid
    core = kubernetes.client.CoreV1Api(api_client)
    assert (await asyncio.to_thread(core.read_namespace, api_server.namespace)).metadata.name == api_server.namespace
