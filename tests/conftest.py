"""Fixtures for every test, and the choice of the API server that the engine's tests run against.

``--api-server kube`` runs what uses ``api_server`` against a real control plane; ``local_only.REASONS`` lists the tests
of those folders that are left out then, and why.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

import local_only
from api import unique
from api_server import ApiServer, kubeconfig_for
from kontinue_engine.apiserver.main import POD_LOGS
from kontinue_engine.apiserver.server import LocalServer
from kontinue_engine.apiserver.storage.sqlite_file import MEMORY
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
from servers import KINDS, Server, running
from startable import StartableServer, startable

TOKEN = "test-token"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--api-server",
        default="local",
        metavar="local|kube|KUBECONFIG",
        help="what the engine's tests run against: the local API server, a real control plane (make kube), or the "
        "existing cluster of a kubeconfig (bearer token), which then also is the real one of the conformance suite",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Property tests judge results: how long an example takes says how busy the machine is.
    too_slow = hypothesis.HealthCheck.too_slow
    hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[too_slow])
    hypothesis.settings.load_profile("untimed")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts background jobs so, and children would inherit it: their Ctrl-C would do nothing.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = config.getoption("--api-server")
    if chosen in KINDS:
        return
    if not Path(chosen).is_file():
        raise pytest.UsageError(f"--api-server: {chosen} is neither local nor kube nor a file")
    os.environ["KONTINUE_TEST_KUBECONFIG"] = str(Path(chosen).absolute())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--api-server") != "local":
        config.stash[local_only.LEFT_OUT] = local_only.take_out(config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(local_only.LEFT_OUT, []):
        terminalreporter.write_line(line)


@dataclasses.dataclass(frozen=True)
class LocalServerFixture:
    """A running server in memory.

    Attributes:
        server: the server itself, for what only tests do (``compact``).
        url: address; requests carry ``Authorization: Bearer`` and the token.
        token: the token.
        kubeconfig: file for kubectl and ``load_config``.
    """

    server: LocalServer
    url: str
    token: str
    kubeconfig: Path


@pytest.fixture
async def local_server(tmp_path: Path) -> AsyncIterator[LocalServerFixture]:
    """Serve kontinue's CRDs and the built-in kinds from memory, on the loop of the test."""
    async with LocalServer(SqliteStorage(MEMORY), token=TOKEN, pod_logs=tmp_path / POD_LOGS) as server:
        kubeconfig = tmp_path / "kubeconfig"
        server.write_kubeconfig(kubeconfig)
        yield LocalServerFixture(server, server.url, TOKEN, kubeconfig)


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real control plane with kontinue's CRDs, one for all tests that need one."""
    with running("kube", tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve kontinue's CRDs, from the local server or a real one."""
    if request.param == "kube":
        yield request.getfixturevalue("kube_server")
        return
    with running(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> str:
    """``local`` or ``kube``: what the engine's tests run against."""
    return "local" if request.config.getoption("--api-server") == "local" else "kube"


@pytest.fixture
def kube_api_server(kube_server: Server, tmp_path: Path) -> Iterator[ApiServer]:
    """A real control plane, and a namespace of the test's own."""
    namespace = unique("test")
    kubeconfig = kubeconfig_for(namespace, kube_server.kubeconfig, tmp_path / "kubeconfig")
    kube_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    yield ApiServer(kube_server.url, kube_server.token, kube_server.ca_file, kubeconfig, namespace)
    kube_server.leave(namespace)


@pytest.fixture
def api_server(request: pytest.FixtureRequest, server_kind: str) -> ApiServer:
    """The server that was chosen, and a namespace of the test's own."""
    if server_kind == "local":
        local: LocalServerFixture = request.getfixturevalue("local_server")
        return ApiServer(local.url, local.token, None, local.kubeconfig, "default")
    found: ApiServer = request.getfixturevalue("kube_api_server")
    return found


@pytest.fixture
def restartable_server(server_kind: str, tmp_path: Path) -> Iterator[StartableServer]:
    """A server of the chosen kind that the test starts, kills and starts again."""
    server = startable(server_kind, tmp_path / "server")
    yield server
    server.stop()
