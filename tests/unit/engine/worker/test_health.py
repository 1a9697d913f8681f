"""Probes: what is live, what is ready, and what is said to those who ask for anything else."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kontinue_engine.errors import StartupError
from kontinue_engine.sharding.tenure import Standing
from kontinue_engine.worker.health import (
    LOOPBACK,
    Health,
    HealthOptions,
    Stage,
    respond,
    serving,
    why_not_live,
    why_not_ready,
)
from ports import free_port


class Holder:
    """Of a Lease that is what a test says."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing


def health_of(stage: Stage, standing: Standing) -> Health:
    health = Health()
    health.stage, health.lease = stage, Holder(standing)
    return health


@pytest.mark.parametrize("standing", Standing)
def test_only_a_lost_lease_ends_a_life(standing: Standing) -> None:
    """A worker without an API server is fenced; to start it anew would cost what it has in memory."""
    assert bool(why_not_live(standing)) == (standing is Standing.LOST)


@pytest.mark.parametrize(
    ("stage", "standing", "says"),
    [
        (Stage.STARTING, Standing.WAITING, "starting"),
        (Stage.STARTING, Standing.WRITING, "starting"),
        (Stage.STANDING_BY, Standing.WAITING, ""),
        (Stage.WORKING, Standing.WRITING, ""),
        (Stage.WORKING, Standing.FENCED, "fenced"),
        (Stage.WORKING, Standing.LOST, "holds no Lease"),
        (Stage.DRAINING, Standing.WRITING, "stopping"),
    ],
)
def test_who_works_or_stands_by_is_ready(stage: Stage, standing: Standing, says: str) -> None:
    """Everybody else says why not."""
    problem = why_not_ready(stage, standing)
    assert (says in problem) if says else not problem


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /livez HTTP/1.1", 200),
        ("GET /livez?verbose HTTP/1.1", 200),
        ("HEAD /livez HTTP/1.1", 200),
        ("GET /readyz HTTP/1.1", 503),
        ("POST /livez HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /../livez HTTP/1.1", 404),
        ("", 404),
        ("\xff\xfe", 404),
    ],
)
def test_a_request_is_answered_by_its_first_line(request_line: str, status: int) -> None:
    """Nothing of it is ever repeated in the answer."""
    head = f"{request_line}\r\nHost: x\r\n\r\n".encode("latin-1")
    answer = respond(head, health_of(Stage.STARTING, Standing.WRITING)).decode()
    status_line, _, rest = answer.partition("\r\n")
    body = rest.partition("\r\n\r\n")[2]
    assert status_line.split(" ")[:2] == ["HTTP/1.1", str(status)]
    assert bool(body) == (not request_line.startswith("HEAD"))


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_answers_change_with_the_replica() -> None:
    """Each request is answered by what holds then."""
    health = Health()
    async with serving(health, HealthOptions(port=0)) as port:
        assert b"503 Service Unavailable" in await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        health.stage, health.lease = Stage.WORKING, Holder(Standing.WRITING)
        answer = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nok\n")


async def test_a_request_without_an_end_is_cut_off() -> None:
    """It cannot take memory for itself, nor keep the others waiting."""
    async with serving(Health(), HealthOptions(port=0)) as port:
        assert await ask(port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000) == b""
        assert b" 200 " in await ask(port, b"GET /livez HTTP/1.1\r\n\r\n")


async def test_an_idle_connection_does_not_delay_the_end() -> None:
    """Whoever connects and says nothing is left when the replica stops."""
    async with serving(Health(), HealthOptions(port=0)) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert b" 200 " in await ask(port, b"GET /livez HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_nothing_listens_unless_asked() -> None:
    """Probes are off by default."""
    async with serving(Health(), None) as port:
        assert port == 0


async def test_an_address_that_is_taken_is_an_error_at_start() -> None:
    """It names the option to change."""
    port = free_port()
    async with serving(Health(), HealthOptions(port=port)):
        with pytest.raises(StartupError, match=f"port {port}: .*--health-port"):
            async with serving(Health(), HealthOptions(port=port)):
                pass
